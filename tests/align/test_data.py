"""Data: from votes and files to the tokens a stage learns from; nothing is lost without a word."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align import data
from align.rendering import tokenizer_of
from assistant.errors import Invalid
from assistant.feedback.rows import Row
from assistant.feedback.store import FeedbackStore
from assistant.registry import Version
from assistant.settings import Settings
from tests.align.lessons import judge, rows, write
from tests.assistant.feedback.said import ANN, ask, assistant, user

END = "<|im_end|>"
DIGEST = "f30f6128680134c02cde33a429735f04d43bec79119a62ed10d60649379bc588"  # of pair()
ASKED = [user("Name a color.")]
TALK = [*ASKED, assistant("Red."), user("Another?"), assistant("Blue.")]


@pytest.fixture(scope="module")
def tokenizer(tiny: Version):
    return tokenizer_of(tiny.path)


def pair(chosen: str = "Red.", rejected: str = "Go away.", **fields) -> Row:
    sides = {"chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}
    return Row({"prompt": ASKED, **sides}, "conv", ("j",), **fields)


@pytest.mark.parametrize(("shape", "expected"), [("preference", 2), ("unpaired", 3)])
def test_rows_come_from_the_store_unless_files_are_named(
    settings: Settings, tmp_path: Path, shape: str, expected: int
):
    judge(settings, pairs=2, ups=2, downs=1)
    file = write(tmp_path / "more.jsonl", rows("dpo" if shape == "preference" else "kto", 5))
    assert len(data.gather(shape, [], settings.database).rows) == expected
    assert len(data.gather(shape, [str(file)], settings.database).rows) == 5
    both = data.gather(shape, ["feedback", str(file)], settings.database)
    assert len(both.rows) == expected + 5


def test_what_was_learnt_before_is_left_out_and_counted(settings: Settings):
    with FeedbackStore(settings.database) as store:
        talk = ask(store, "One.", "Two.", "Three.")
        known = store.judgements.pair(ANN, "chat", *talk.answers[:2], "first").id
        ranking = [[answer] for answer in talk.answers]
        fresh = store.judgements.ranking(ANN, "chat", ranking).id
    found = data.gather("preference", [], settings.database, frozenset({known}))
    assert [row.judgement_ids for row in found.rows] == [(fresh,)] * 3
    assert found.left_out["learnt before by the base"] == 1


def test_a_row_with_anything_new_in_it_is_kept(settings: Settings):
    with FeedbackStore(settings.database) as store:
        talk = ask(store, "One.", "Two.")
        up = store.judgements.thumb(ANN, "chat", talk.answers[0], "up").id
        store.judgements.thumb(ANN, "chat", talk.answers[1], "down")
    [row] = data.gather("preference", [], settings.database, frozenset({up})).rows
    assert up in row.judgement_ids
    everything = frozenset(row.judgement_ids)
    assert data.gather("preference", [], settings.database, everything).rows == []


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto"])
def test_parquet_files_hold_the_same_rows_as_json_lines(tmp_path: Path, stage: str):
    shape = {"sft": "messages", "dpo": "preference", "kto": "unpaired"}[stage]
    lines = write(tmp_path / "rows.jsonl", rows(stage, 6))
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows(stage, 6)), table)
    one, other = (data.from_file(shape, file).rows for file in (lines, table))
    assert len(one) == 6
    assert [row.data for row in one] == [row.data for row in other]


def test_broken_rows_are_named_by_line_and_nothing_is_half_read(tmp_path: Path):
    good, *_ = rows("dpo", 1)
    broken = [good, "{nothing", good, {"prompt": "x", "chosen": "same", "rejected": "same"}]
    file = write(tmp_path / "votes.jsonl", [*broken, "[]", "7", "8"])
    with pytest.raises(Invalid) as refused:
        data.from_file("preference", file)
    said = str(refused.value)
    assert "line 2: not a JSON object; line 4: chosen and rejected are identical; line 5" in said
    assert "and 2 more" in said
    assert "line 7" not in said


def test_a_file_of_another_shape_is_counted_with_its_kind(tmp_path: Path):
    file = write(tmp_path / "thumbs.jsonl", [*rows("kto", 4), *rows("dpo", 3)])
    found = data.from_file("preference", file)
    assert len(found.rows) == 3
    assert found.left_out == {"thumbs.jsonl: thumb, not of the shape preference": 4}


def test_only_good_answers_of_a_file_are_imitated(tmp_path: Path):
    found = data.from_file("messages", write(tmp_path / "thumbs.jsonl", rows("kto", 4)))
    assert [row.data["messages"][-1]["content"] for row in found.rows] == [
        "The number is 1, my friend.",
        "The number is 3, my friend.",
    ]
    assert found.left_out == {"thumbs.jsonl: thumb, not of the shape messages": 2}


def test_a_missing_file_is_said(tmp_path: Path):
    with pytest.raises(Invalid, match="Cannot read"):
        data.gather("preference", [str(tmp_path / "none.jsonl")], "sqlite://")


@given(
    conversations=st.lists(st.integers(0, 30), min_size=1, max_size=80),
    held_out=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 5),
)
def test_no_conversation_is_both_learnt_and_held_out(conversations, held_out, seed):
    given_rows = [Row({"n": n}, f"conv-{c}", ()) for n, c in enumerate(conversations)]
    learn, out = data.split(given_rows, held_out, seed)
    assert {r.conversation_id for r in learn}.isdisjoint(r.conversation_id for r in out)
    assert sorted([*learn, *out], key=lambda r: r.data["n"]) == given_rows
    assert len({r.conversation_id for r in out}) == round(len(set(conversations)) * held_out)
    shuffled = sorted(given_rows, key=lambda r: -r.data["n"])
    assert {r.data["n"] for r in data.split(shuffled, held_out, seed)[1]} == {
        r.data["n"] for r in out
    }


def test_two_prompts_of_a_file_that_are_the_same_are_held_out_together(tmp_path: Path):
    twice = [{"prompt": f"Say {n % 10}.", "chosen": "Yes.", "rejected": f"No {n}."} for n in (1, 2)]
    same = [{**row, "prompt": "Same."} for row in twice]
    found = data.from_file("preference", write(tmp_path / "rows.jsonl", [*twice, *same])).rows
    assert len({row.conversation_id for row in found}) == 3


def answers(good: int, bad: int) -> list[Row]:
    labels = [True] * good + [False] * bad
    return [Row({"label": label, "place": i}, "", ()) for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("good", "bad", "kept_good", "kept_bad"), [(5, 20, 5, 15), (20, 5, 15, 5), (5, 15, 5, 15)]
)
def test_the_commoner_verdict_is_thinned_and_counted(good, bad, kept_good, kept_bad):
    given = answers(good, bad)
    kept, surplus = data.balanced(given, 3, seed=1)
    labels = [row.data["label"] for row in kept]
    assert (labels.count(True), labels.count(False)) == (kept_good, kept_bad)
    assert surplus.total() == len(given) - len(kept)
    assert kept == sorted(kept, key=lambda row: row.data["place"])
    assert data.balanced(given, 3, seed=1)[0] == kept


def test_which_answers_are_left_for_later_follows_from_the_seed():
    kept = [tuple(r.data["place"] for r in data.balanced(answers(5, 50), 3, s)[0]) for s in (1, 2)]
    assert kept[0] != kept[1]


def test_answers_that_are_all_good_or_all_bad_are_refused():
    with pytest.raises(Invalid, match="All 4 answers are called bad; KTO compares good and bad"):
        data.balanced(answers(0, 4), 3, seed=0)


def test_rows_are_saved_and_loaded_unchanged(tmp_path: Path):
    kept = [pair(chosen="Röd.\n红", unfinished=("chosen",)), pair(corrected=True)]
    saved = data.save(kept, tmp_path / "rows.jsonl")
    assert data.load(tmp_path / "rows.jsonl") == kept
    assert data.save(kept, tmp_path / "again.jsonl") == saved
    assert data.save(kept[:1], tmp_path / "less.jsonl") != saved


def test_the_digest_is_of_the_content_alone():
    assert data.digest([pair()]) == data.digest([Row(pair().data, "elsewhere", ("other",))])
    reordered = Row(dict(reversed(pair().data.items())), "conv", ())
    assert data.digest([pair()]) == data.digest([reordered])
    assert data.digest([pair()]) != data.digest([pair(chosen="Red")])
    assert data.digest([pair()]) == DIGEST


def test_both_answers_end_with_the_end_token_and_share_the_prompt(tokenizer):
    [row], left_out = data.tokenized(tokenizer, [pair()], 1024)
    assert tokenizer.decode(row["prompt_ids"]).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(row["chosen_ids"]) == f"Red.{END}"
    assert tokenizer.decode(row["rejected_ids"]) == f"Go away.{END}"
    assert row["length"] == len(row["prompt_ids"]) + len(row["rejected_ids"])
    assert not left_out


def test_an_answer_that_was_cut_off_does_not_teach_to_end_there(tokenizer):
    [row], _ = data.tokenized(tokenizer, [pair(unfinished=("rejected",))], 1024)
    assert tokenizer.decode(row["chosen_ids"]) == f"Red.{END}"
    assert tokenizer.decode(row["rejected_ids"]) == "Go away."
    lone = Row({"prompt": ASKED, "completion": [assistant("Re")], "label": True}, "conv", ())
    cut = Row(lone.data, "conv", (), unfinished=("completion",))
    whole, without = (data.tokenized(tokenizer, [r], 1024)[0][0] for r in (lone, cut))
    assert whole["completion_ids"][:-1] == without["completion_ids"]
    assert whole["label"] is without["label"] is True


def test_a_thumb_down_does_not_teach_never_to_end(tokenizer):
    said = {"prompt": ASKED, "completion": [assistant("Red.")]}
    rows = [Row(said | {"label": label}, "conv", ()) for label in (True, False)]
    liked, disliked = data.tokenized(tokenizer, rows, 1024)[0]
    assert tokenizer.decode(liked["completion_ids"]) == f"Red.{END}"
    assert tokenizer.decode(disliked["completion_ids"]) == "Red."


def test_token_rows_know_the_temperature_of_their_answers(tokenizer):
    made, _ = data.tokenized(tokenizer, [pair(), pair(temperature=0.8)], 1024)
    assert [row["temperature"] for row in made] == [1.0, 0.8]


def test_answers_without_a_single_token_are_left_out_and_counted(tokenizer):
    stopped_at_once = pair(rejected="", unfinished=("rejected",))
    made, left_out = data.tokenized(tokenizer, [pair(), stopped_at_once], 1024)
    assert len(made) == 1
    assert left_out == {"an answer without text": 1}


def test_rows_that_are_too_long_are_left_out_and_counted(tokenizer):
    short, long = pair(), pair(rejected="word " * 50)
    length = data.tokenized(tokenizer, [short], 1024)[0][0]["length"]
    made, left_out = data.tokenized(tokenizer, [short, long], length)
    assert [row["length"] for row in made] == [length]
    assert left_out == {f"longer than {length} tokens": 1}
    assert data.tokenized(tokenizer, [short], length - 1)[0] == []


def test_only_the_last_answer_of_a_conversation_is_learnt(tokenizer):
    [row], _ = data.tokenized(tokenizer, [Row({"messages": TALK}, "conv", ())], 1024)
    assert len(row["labels"]) == len(row["input_ids"]) == row["length"]
    learnt = [label for label in row["labels"] if label != -100]
    assert tokenizer.decode(learnt) == f"Blue.{END}"
    at = row["labels"].index(learnt[0])
    assert row["input_ids"][at : at + len(learnt)] == learnt
    assert tokenizer.decode(row["input_ids"][:at]).endswith(
        "Another?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_rows_can_be_read_by_other_programs(tmp_path: Path):
    data.save([pair()], tmp_path / "rows.jsonl")
    [line] = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert json.loads(line)["data"]["chosen"] == [assistant("Red.")]
