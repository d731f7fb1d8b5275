"""Gathering: rows from the store, files, folders and the hub; nothing is lost without a word."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.data.gathering import Source, gather, split
from assistant.errors import Invalid
from assistant.feedback import export
from assistant.feedback.rows import Row, Rows
from assistant.feedback.store import FeedbackStore
from assistant.settings import Settings
from tests.align.lessons import judge, rows, write
from tests.assistant.feedback.said import ANN, ask, assistant, user


def gather_file(shape: str, file: Path) -> Rows:
    return gather(shape, str(file), "sqlite://")


@pytest.mark.parametrize(("shape", "expected"), [("preference", 2), ("unpaired", 3)])
def test_rows_come_from_the_store_unless_files_are_named(
    settings: Settings, tmp_path: Path, shape: str, expected: int
):
    judge(settings, pairs=2, ups=2, downs=1)
    file = write(tmp_path / "more.jsonl", rows("dpo" if shape == "preference" else "kto", 5))
    assert len(gather(shape, "feedback", settings.database).rows) == expected
    assert len(gather(shape, str(file), settings.database).rows) == 5


def test_what_was_learnt_before_is_left_out_and_counted(settings: Settings):
    with FeedbackStore(settings.database) as store:
        talk = ask(store, "One.", "Two.", "Three.")
        known = store.judgements.pair(ANN, "chat", *talk.answers[:2], "first").id
        ranking = [[answer] for answer in talk.answers]
        fresh = store.judgements.ranking(ANN, "chat", ranking).id
    found = gather("preference", "new-feedback", settings.database, frozenset({known}))
    assert [row.judgement_ids for row in found.rows] == [(fresh,)] * 3
    assert found.left_out["learnt before by the base"] == 1


def test_a_row_with_anything_new_in_it_is_kept(settings: Settings):
    with FeedbackStore(settings.database) as store:
        talk = ask(store, "One.", "Two.")
        up = store.judgements.thumb(ANN, "chat", talk.answers[0], "up").id
        store.judgements.thumb(ANN, "chat", talk.answers[1], "down")
    [row] = gather("preference", "new-feedback", settings.database, frozenset({up})).rows
    assert up in row.judgement_ids
    everything = frozenset(row.judgement_ids)
    assert gather("preference", "new-feedback", settings.database, everything).rows == []


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto"])
def test_parquet_files_hold_the_same_rows_as_json_lines(tmp_path: Path, stage: str):
    shape = {"sft": "messages", "dpo": "preference", "kto": "unpaired"}[stage]
    lines = write(tmp_path / "rows.jsonl", rows(stage, 6))
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows(stage, 6)), table)
    one, other = (gather_file(shape, file).rows for file in (lines, table))
    assert len(one) == 6
    assert [row.data for row in one] == [row.data for row in other]


def test_broken_rows_are_named_by_line_and_nothing_is_half_read(tmp_path: Path):
    good, *_ = rows("dpo", 1)
    broken = [good, "{nothing", good, {"prompt": "x", "chosen": "same", "rejected": "same"}]
    file = write(tmp_path / "votes.jsonl", [*broken, "[]", "7", "8"])
    with pytest.raises(Invalid) as refused:
        gather_file("preference", file)
    said = str(refused.value)
    assert "line 2: not a JSON object; line 4: chosen and rejected are identical; line 5" in said
    assert "and 2 more" in said
    assert "line 7" not in said


def test_a_file_of_another_shape_is_counted_with_its_kind(tmp_path: Path):
    file = write(tmp_path / "thumbs.jsonl", [*rows("kto", 4), *rows("dpo", 3)])
    found = gather_file("preference", file)
    assert len(found.rows) == 3
    assert found.left_out == {"thumbs.jsonl: thumb, not of the shape preference": 4}


def test_only_good_answers_of_a_file_are_imitated(tmp_path: Path):
    found = gather_file("messages", write(tmp_path / "thumbs.jsonl", rows("kto", 4)))
    assert [row.data["messages"][-1]["content"] for row in found.rows] == [
        "The number is 1, my friend.",
        "The number is 3, my friend.",
    ]
    assert found.left_out == {"thumbs.jsonl: thumb, not of the shape messages": 2}


def test_a_missing_file_is_said(tmp_path: Path):
    with pytest.raises(Invalid, match="Cannot read"):
        gather("preference", str(tmp_path / "none.jsonl"), "sqlite://")


@given(
    conversations=st.lists(st.integers(0, 30), min_size=1, max_size=80),
    held_out=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 5),
)
def test_no_conversation_is_both_learnt_and_held_out(conversations, held_out, seed):
    given_rows = [Row({"n": n}, f"conv-{c}", ()) for n, c in enumerate(conversations)]
    learn, out = split(given_rows, held_out, seed)
    assert {r.conversation_id for r in learn}.isdisjoint(r.conversation_id for r in out)
    assert sorted([*learn, *out], key=lambda r: r.data["n"]) == given_rows
    assert len({r.conversation_id for r in out}) == round(len(set(conversations)) * held_out)
    shuffled = sorted(given_rows, key=lambda r: -r.data["n"])
    assert {r.data["n"] for r in split(shuffled, held_out, seed)[1]} == {r.data["n"] for r in out}


def test_two_prompts_of_a_file_that_are_the_same_are_held_out_together(tmp_path: Path):
    twice = [{"prompt": f"Say {n % 10}.", "chosen": "Yes.", "rejected": f"No {n}."} for n in (1, 2)]
    same = [{**row, "prompt": "Same."} for row in twice]
    found = gather_file("preference", write(tmp_path / "rows.jsonl", [*twice, *same])).rows
    assert len({row.conversation_id for row in found}) == 3


@pytest.mark.parametrize(
    ("said", "name", "weight"),
    [
        ("feedback", "feedback", None),
        ("feedback:0.2", "feedback", 0.2),
        ("rows.jsonl:3", "rows.jsonl", 3.0),
        ("org/name", "org/name", None),
        ("C:/rows.jsonl", "C:/rows.jsonl", None),
    ],
)
def test_a_source_may_have_a_weight(said: str, name: str, weight: float | None):
    assert Source.of(said) == Source(name, weight)


@pytest.mark.parametrize("said", ["a:0", "a:-1", "a:inf", "a:nan"])
def test_a_weight_is_a_number_over_nothing(said: str):
    with pytest.raises(Invalid, match="must be a number over 0"):
        Source.of(said)


def test_a_ranking_gives_every_pair_that_is_not_tied(tmp_path: Path):
    ranking = {"prompt": "Q?", "completions": ["C", "A", "B"], "scores": [1, 9, 1]}
    found = gather_file("preference", write(tmp_path / "rows.jsonl", [ranking])).rows
    sides = [(r.data["chosen"][0]["content"], r.data["rejected"][0]["content"]) for r in found]
    assert sides == [("A", "C"), ("A", "B")]
    assert len({row.conversation_id for row in found}) == 1


def test_a_chat_of_a_file_is_learnt_whole_and_a_liked_answer_alone(tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", [*rows("sft", 1), *rows("kto", 2)])
    assert [row.whole for row in gather_file("messages", file).rows] == [True, False]


def test_tools_stay_with_their_row(tmp_path: Path):
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    file = write(tmp_path / "rows.jsonl", [rows("sft", 1)[0] | {"tools": [tool]}])
    assert gather_file("messages", file).rows[0].data["tools"] == [tool]


def test_texts_are_read_from_a_folder(tmp_path: Path):
    (tmp_path / "a.txt").write_text("Once upon a time.")
    write(tmp_path / "b.jsonl", [{"text": "The end."}, *rows("dpo", 1)])
    found = gather_file("text", tmp_path)
    assert [row.data["text"] for row in found.rows] == ["Once upon a time.", "The end."]
    assert found.left_out.total() == 1


def test_a_data_set_that_the_hub_does_not_give_is_said(monkeypatch: pytest.MonkeyPatch):
    for place in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{place}.HF_HUB_OFFLINE", True)  # no waiting for a network
    with pytest.raises(Invalid, match="no file nobody/nothing, and the hub gave no data set"):
        gather("messages", "nobody/nothing", "sqlite://")


def test_tools_and_calls_come_back_from_every_format(tmp_path: Path):
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"a": {}}}}]
    other = [{"type": "function", "function": {"name": "sub", "parameters": {"b": {}}}}]
    called = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    answer = {"role": "assistant", "content": "", "tool_calls": called}
    made = [
        {"prompt": [{"role": "user", "content": "Q"}], "completion": [answer], "label": True}
        | {"tools": offered}
        for offered in (tools, other)
    ]
    for suffix in (".jsonl", ".parquet"):
        file = tmp_path / f"rows{suffix}"
        export.write(Rows([Row(data, "conv", ()) for data in made]), "unpaired", file)
        read = gather_file("unpaired", file).rows
        assert [row.data["tools"] for row in read] == [tools, other]
        assert read[0].data["completion"][0]["tool_calls"] == called


def judged(person: int, talk: int) -> Row:
    return Row({}, f"talk {talk}", (), person=f"person {person}")


@pytest.mark.parametrize("seed", range(5))
def test_where_enough_people_judged_nobody_is_on_both_sides(seed: int):
    found = [judged(n % 20, n) for n in range(200)]
    learn, out = split(found, 0.1, seed)
    assert len(out) == 20
    assert not {row.person for row in learn} & {row.person for row in out}


def test_people_who_judged_the_same_conversation_stay_together():
    found = [judged(n % 20, n) for n in range(200)]
    found += [judged(0, 500), judged(1, 500)]
    learn, out = split(found, 0.5, 0)
    sides = [{row.person for row in side} for side in (learn, out)]
    assert not sides[0] & sides[1]
    assert not {row.conversation_id for row in learn} & {row.conversation_id for row in out}


def test_where_few_people_judged_conversations_are_kept_apart():
    found = [judged(n % 3, n // 2) for n in range(100)]
    learn, out = split(found, 0.1, 0)
    assert len(out) == 10
    assert not {row.conversation_id for row in learn} & {row.conversation_id for row in out}


def test_rows_of_the_store_know_who_judged(settings: Settings):
    judge(settings, pairs=2)
    assert {row.person for row in gather("preference", "feedback", settings.database).rows} == {ANN}


def test_two_turns_of_a_conversation_are_on_one_side(tmp_path: Path):
    first = [user("Q?"), assistant("A."), user("R?")]
    lines = [
        {"prompt": "Q?", "chosen": "A", "rejected": "B"},
        {"prompt": first, "chosen": "C", "rejected": "D"},
        {"prompt": "S?", "chosen": "E", "rejected": "F"},
    ]
    one = gather_file("preference", write(tmp_path / "one.jsonl", lines)).rows
    other = gather_file("preference", write(tmp_path / "other.jsonl", lines[:1])).rows
    talks = [row.conversation_id for row in (*one, *other)]
    assert talks[0] == talks[1] == talks[3] != talks[2]
