"""Cleaning: every step says what went and why; what is sound stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.data.cleaning import Choice, Step, as_facts, cleaned
from align.data.contamination import Evaluation, shipped_questions
from align.data.duplicates import first_of_each, unlike_each_other
from align.quality import LOOPS
from assistant import prompts
from assistant.feedback.rows import Row
from tests.assistant.feedback.said import assistant, user

NOTHING = Evaluation([])
LONG = (
    "A glacier is a mass of ice that moves slowly under its own weight, carves valleys into the "
    "rock below it, and carries stones of every size down to where the ice melts in summer."
)


def chat(question: str, answer: str, **fields) -> Row:
    return Row({"messages": [user(question), assistant(answer)]}, question, (), **fields)


def pair(question: str, chosen: str, rejected: str) -> Row:
    sides = {"chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}
    return Row({"prompt": [user(question)], **sides}, question, ())


def thumb(answer: str, label: bool) -> Row:
    data = {"prompt": [user("Q?")], "completion": [assistant(answer)], "label": label}
    return Row(data, "talk", ())


def step(rows: list[Row], name: str, choice: Choice | None = None) -> tuple[list[Row], Step]:
    kept, steps = cleaned(rows, choice or Choice(), NOTHING)
    return kept, next(s for s in steps if s.name == name)


def test_sound_rows_pass_every_step_untouched():
    rows = [chat("What is ice?", "Frozen water."), pair("Why?", LONG, "No."), thumb("Yes.", True)]
    kept, steps = cleaned(rows, Choice(), Evaluation(shipped_questions()))
    assert all(one is other for one, other in zip(kept, rows, strict=True))
    assert not any(s.reasons for s in steps)
    assert [s.name for s in steps] == [
        *("encoding", "privacy", "repetition", "boilerplate", "duplicates"),
        *("near-duplicates", "evaluation"),
    ]


@pytest.mark.parametrize(
    ("row", "name", "reason"),
    [
        (chat("Q?", "Caf\ufffd"), "encoding", "characters that were lost in decoding"),
        (chat("Q?", "\x00\x01"), "encoding", "control characters"),
        (chat("Q?", "on and " * 20), "repetition", LOOPS),
        (chat("Q?", "As an AI language model, I"), "boilerplate", "says “as an ai language model”"),
    ],
)
def test_what_is_left_out_is_counted_with_a_sample(row: Row, name: str, reason: str):
    kept, told = step([chat("A?", "Sound."), row], name)
    assert len(kept) == 1
    assert (told.before - told.after, told.reasons) == (1, {reason: 1})
    assert told.samples[0][0] == reason
    assert "samples" in as_facts([told])[0]
    assert as_facts([told])[0]["samples"] == []


def test_a_bad_answer_may_be_as_bad_as_it_is():
    rows = [thumb("on and " * 20, False), thumb("As an AI language model, no.", False)]
    assert cleaned(rows, Choice(near=False), NOTHING)[0] == rows


def test_masking_changes_rows_and_drops_none():
    kept, told = step([chat("Who?", "Write to ann@example.org."), chat("A?", "Sound.")], "privacy")
    assert kept[0].data["messages"][1]["content"] == "Write to [email]."
    assert (told.after, told.changed, told.reasons) == (2, 1, {"email": 1})
    unmasked, _ = cleaned([chat("Who?", "a@example.org")], Choice(mask=False), NOTHING)
    assert unmasked[0].data["messages"][1]["content"] == "a@example.org"


def test_other_languages_are_left_out_if_asked():
    rows = [
        chat("Was ist ein Gletscher?", "Ein Gletscher ist eine Masse aus Eis, die sich bewegt."),
        chat("What is a glacier?", LONG),
        chat("冰川是什么?", "冰川是在自身重量下缓慢移动的大块冰体，它会侵蚀山谷。"),
        chat("OK?", "OK."),
    ]
    kept, told = step(rows, "language", Choice(languages=("en", "zh")))
    assert kept == rows[1:]
    assert told.reasons == {"is in de, it seems": 1}


def test_the_same_words_are_the_same_row_but_a_contradicting_vote_is_not():
    rows = [
        pair("Why?", "Because.", "No."),
        pair("why", "because", "NO!"),
        pair("Why?", "No.", "Because."),
        thumb("Fine.", True),
        thumb("Fine.", False),
    ]
    kept, gone = first_of_each(rows)
    assert kept == [rows[0], *rows[2:]]
    assert gone == [(rows[1], "the same as an earlier row")]


def test_other_calls_are_other_answers_and_what_they_hold_is_masked():
    def calls(**arguments) -> Row:
        call = {"type": "function", "function": {"name": "send", "arguments": arguments}}
        answer = {"role": "assistant", "content": "", "tool_calls": [call]}
        asked = [{"role": "user", "content": "Send it, please."}]
        return Row({"messages": [*asked, answer]}, "talk", ())

    rows = [calls(to="ann@example.org"), calls(to="everybody", n=3), calls(to="everybody", n=3)]
    assert len(step(rows, "duplicates")[0]) == 2
    masked = str(step(rows[:1], "privacy")[0][0].data)
    assert "ann@" not in masked
    assert "'name': 'send'" in masked


def test_nearly_the_same_is_found_and_a_contradicting_vote_is_not():
    other = "Bread is made of flour, water, salt and yeast, and is baked in a hot oven for an hour."
    rows = [
        pair("Why?", LONG, other),
        pair("Why?", LONG.replace("summer", "spring"), other),
        pair("Why?", other, LONG),
        chat("Why?", other),
    ]
    kept, gone = unlike_each_other(rows)
    assert kept == [rows[0], *rows[2:]]
    assert gone == [(rows[1], "nearly the same as an earlier row")]


@given(st.lists(st.text("ab ", max_size=12), max_size=12))
def test_no_row_is_dropped_without_one_like_it_being_kept(texts):
    rows = [chat("Q?", text) for text in texts]
    for sift in (first_of_each, unlike_each_other):
        kept, gone = sift(rows)
        assert len(kept) + len(gone) == len(rows)
        assert bool(kept) == bool(rows)


QUESTION = "How do I politely ask my neighbour to turn the music down at night?"


@pytest.mark.parametrize(
    ("text", "contaminated"),
    [
        (QUESTION, True),
        (f"Answer this. {QUESTION.upper()} Be brief.", True),
        ("How do I politely ask my neighbour to turn the lights off at noon?", False),
        ("How do I politely ask my neighbour to turn the music down?", True),
        ("Explain how tides work.", True),
        ("Please explain: how tides work", True),
        ("Explain how they work.", False),
        ("Why?", False),
        ("如何礼貌地请邻居在夜里把音乐关小一点", True),
    ],
)
def test_questions_that_versions_are_measured_on_are_found(text: str, contaminated: bool):
    asked = [QUESTION, "Explain how tides work.", "Why?", "如何礼貌地请邻居在夜里把音乐关小一点？"]
    evaluation = Evaluation(asked)
    assert (evaluation.found_in(chat(text, "Well.")) is not None) == contaminated
    assert (evaluation.found_in(Row({"text": text}, "t", ())) is not None) == contaminated


def test_every_question_of_the_harm_check_is_known():
    asked = prompts.load("harm/questions.txt").splitlines()
    kept, gone = Evaluation(shipped_questions()).without(
        [chat(question, "Yes.") for question in asked]
    )
    assert (len(kept), len(gone)) == (0, len(asked))
