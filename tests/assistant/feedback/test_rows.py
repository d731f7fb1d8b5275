"""Rows: what judgements teach, in TRL's shapes, and what is left out and why."""

import pytest

from assistant.feedback.rows import SHAPES, UNFINISHED, used_judgements
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, NOTICE, Asked, ask, assistant, data, made, rows, user

QUESTION = user("Why is the sky blue?")


def test_a_pair_makes_a_preference_the_right_way_round(store: FeedbackStore):
    talk = ask(store, "One.", "Other.")
    store.judgements.pair(ANN, "chat", *talk.answers, "second")
    assert data(store, "preference") == [
        {"prompt": [QUESTION], "chosen": [assistant("Other.")], "rejected": [assistant("One.")]}
    ]
    assert data(store, "unpaired") == []
    assert data(store, "messages") == []


def test_a_prompt_holds_every_turn_before_the_answer_and_no_sibling(store: FeedbackStore):
    add = store.conversations.add
    talk = ask(store, "Scattering.", "Magic.")
    follow = add(talk.conversation, talk.answers[0], "user", "Of what?").id
    late = add(talk.conversation, follow, "assistant", "Of light.", "model").id
    store.judgements.thumb(ANN, "chat", late, "down")
    assert data(store, "unpaired") == [
        {
            "prompt": [QUESTION, assistant("Scattering."), user("Of what?")],
            "completion": [assistant("Of light.")],
            "label": False,
        }
    ]


@pytest.mark.parametrize("choice", ["tie", "both_bad"])
def test_a_pair_without_a_better_side_makes_no_preference(store: FeedbackStore, choice: str):
    talk = ask(store, "One.", "Other.")
    store.judgements.pair(ANN, "chat", *talk.answers, choice)
    found = rows(store, "preference")
    assert found.rows == []
    assert found.left_out == {"tie or both bad: no better side": 1}
    labels = [row["label"] for row in data(store, "unpaired")]
    assert labels == [choice == "tie"] * 2


def test_a_ranking_makes_every_pair_that_is_not_tied(store: FeedbackStore):
    a, b, c = ask(store, "A", "B", "C").answers
    store.judgements.ranking(ANN, "api", [[c], [a, b]])
    made = [
        (r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in data(store, "preference")
    ]
    assert sorted(made) == [("C", "A"), ("C", "B")]


def test_a_correction_teaches_both_ways(store: FeedbackStore):
    talk = ask(store, "Wrong.")
    store.judgements.correction(ANN, "chat", talk.answers[0], "Right.")
    assert data(store, "preference") == [
        {"prompt": [QUESTION], "chosen": [assistant("Right.")], "rejected": [assistant("Wrong.")]}
    ]
    assert data(store, "messages") == [{"messages": [QUESTION, assistant("Right.")]}]


def test_opposite_thumbs_on_siblings_make_a_preference(store: FeedbackStore):
    talk = ask(store, "Good.", "Bad.", "Silent.")
    up = store.judgements.thumb(ANN, "chat", talk.answers[0], "up")
    down = store.judgements.thumb(ANN, "chat", talk.answers[1], "down")
    (row,) = rows(store, "preference").rows
    assert row.data["chosen"] == [assistant("Good.")]
    assert row.judgement_ids == (up.id, down.id)
    assert used_judgements([row]) == sorted([up.id, down.id])


def test_thumbs_up_on_unfinished_answers_are_not_imitated(store: FeedbackStore):
    for finish in ("length", "interrupted", "stop"):
        talk = ask(store, finish, finish=finish)
        store.judgements.thumb(ANN, "chat", talk.answers[0], "up")
    found = rows(store, "messages")
    assert [r.data["messages"][-1]["content"] for r in found.rows] == ["stop"]
    assert found.left_out == {UNFINISHED: 2}


@pytest.mark.parametrize("finish", ["length", "interrupted", "error"])
def test_a_preference_for_what_was_cut_off_is_left_out(store: FeedbackStore, finish: str):
    talk, whole, cut = whole_and_cut(store, finish)
    store.judgements.pair(ANN, "chat", cut, whole, "first")
    store.judgements.ranking(ANN, "chat", [[talk.answers[0]], [cut], [whole]])
    found = rows(store, "preference")
    assert [row.data["chosen"][0]["content"] for row in found.rows] == ["Best."] * 2
    assert found.left_out == {UNFINISHED: 2}


def test_a_preference_says_that_the_worse_side_was_cut_off(store: FeedbackStore):
    _, whole, cut = whole_and_cut(store, "length")
    store.judgements.pair(ANN, "chat", whole, cut, "first")
    assert [row.unfinished for row in rows(store, "preference").rows] == [("rejected",)]


def whole_and_cut(store: FeedbackStore, finish: str) -> tuple[Asked, str, str]:
    """A conversation with the answer "Best.", and two more of which one was cut off."""
    talk = ask(store, "Best.")
    whole, cut = (
        store.conversations.add(
            talk.conversation, talk.question, "assistant", f"This is {how}.", "model", made(how)
        ).id
        for how in ("stop", finish)
    )
    return talk, whole, cut


def test_a_single_answer_says_whether_it_was_cut_off(store: FeedbackStore):
    for finish, choice in (("stop", "up"), ("length", "down"), ("interrupted", "up")):
        talk = ask(store, finish, finish=finish)
        store.judgements.thumb(ANN, "chat", talk.answers[0], choice)
    found = rows(store, "unpaired")
    assert [row.unfinished for row in found.rows] == [(), ("completion",)]
    assert found.left_out == {UNFINISHED: 1}


def test_rows_know_what_their_answers_were_sampled_at(store: FeedbackStore):
    talk = ask(store)
    first, second, greedy = (
        store.conversations.add(
            *(talk.conversation, talk.question, "assistant", f"At {heat}.", "model"),
            made(sampling={"temperature": heat}),
        ).id
        for heat in (0.6, 1.0, 0.0)
    )
    store.judgements.thumb(ANN, "chat", first, "up")
    store.judgements.thumb(ANN, "chat", greedy, "up")
    store.judgements.pair(ANN, "chat", first, second, "first")
    store.judgements.correction(ANN, "chat", second, "By hand.")
    assert [row.temperature for row in rows(store, "unpaired").rows] == [0.6, 1.0]
    assert [row.temperature for row in rows(store, "preference").rows] == [0.8, 1.0]
    assert [row.temperature for row in rows(store, "messages").rows] == [0.6, 1.0, 1.0]


def test_what_a_person_wrote_is_whole_and_marked_as_a_correction(store: FeedbackStore):
    talk = ask(store, "Cut o", finish="length")
    fixed = store.judgements.correction(ANN, "chat", talk.answers[0], "Whole.").corrected_id
    praised = ask(store, "Good.")
    store.judgements.thumb(ANN, "chat", praised.answers[0], "up")
    (pair,) = rows(store, "preference").rows
    assert pair.unfinished == ("rejected",)
    written, thumbed = rows(store, "messages").rows
    assert (written.corrected, written.data["messages"][-1]["content"]) == (True, "Whole.")
    assert (thumbed.corrected, thumbed.unfinished) == (False, ())
    store.judgements.thumb(ANN, "chat", fixed, "up")  # good, but not what was asked to be fixed
    assert [row.corrected for row in rows(store, "messages").rows] == [True, False, False]


def test_identical_texts_teach_nothing(store: FeedbackStore):
    talk = ask(store, "Same.", "Same.")
    store.judgements.pair(ANN, "chat", *talk.answers, "first")
    assert rows(store, "preference").left_out == {"both sides read the same": 1}


def test_what_was_replaced_or_withdrawn_is_counted(store: FeedbackStore):
    talk = ask(store, "One.")
    store.judgements.thumb(ANN, "chat", talk.answers[0], "up")
    latest = store.judgements.thumb(ANN, "chat", talk.answers[0], "down")
    assert [row["label"] for row in data(store, "unpaired")] == [False]
    store.judgements.withdraw(ANN, "chat", latest.id)
    found = rows(store, "unpaired")
    assert found.rows == []
    assert found.left_out == {"withdrawn or replaced by a later judgement": 2}


@pytest.mark.parametrize("consent", [None, False])
def test_without_consent_there_are_no_rows(store: FeedbackStore, consent: bool | None):
    talk = ask(store, "One.", "Other.", consent=consent)
    store.judgements.pair(ANN, "chat", *talk.answers, "first")
    store.judgements.correction(ANN, "chat", talk.answers[0], "Right.")
    for shape in SHAPES:
        assert rows(store, shape).rows == []
        assert rows(store, shape).left_out["no consent"] == 2
    store.conversations.set_consent(ANN, talk.conversation, True, NOTICE)
    assert len(data(store, "preference")) == 2


def test_consent_taken_back_takes_the_rows_back(store: FeedbackStore):
    talk = ask(store, "One.")
    store.judgements.thumb(ANN, "chat", talk.answers[0], "up")
    assert len(data(store, "messages")) == 1
    store.conversations.set_consent(ANN, talk.conversation, False, NOTICE)
    assert data(store, "messages") == []
