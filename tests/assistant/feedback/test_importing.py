"""Imports: every shape of TRL comes back out as it went in; what is broken is named by line."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assistant.errors import Invalid
from assistant.feedback.export import write
from assistant.feedback.importing import read_examples
from assistant.feedback.rows import SHAPES, Shape
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, ask, assistant, data, raw, rows, user

PREFERENCE = {"prompt": [user("Q?")], "chosen": [assistant("A")], "rejected": [assistant("B")]}
UNPAIRED = {"prompt": [user("Q?")], "completion": [assistant("A")], "label": True}
MESSAGES = {"messages": [user("Q?"), assistant("A")]}
ROWS: dict[Shape, dict] = {"preference": PREFERENCE, "unpaired": UNPAIRED, "messages": MESSAGES}


def lines(file: Path, *rows: object) -> Path:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("".join(text + "\n" for text in texts))
    return file


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_exported_can_be_imported_elsewhere(
    store: FeedbackStore, tmp_path: Path, new_database, shape: Shape, suffix: str
):
    talk = ask(store, "Good — 好", "Bad.")
    store.judgements.thumb(ANN, "chat", talk.answers[0], "up")
    store.judgements.thumb(ANN, "chat", talk.answers[1], "down")
    file = tmp_path / f"rows{suffix}"
    write(rows(store, shape), shape, file)
    with FeedbackStore(new_database()) as other:
        report = other.load(file)
        assert report.imported == report.read == len(data(store, shape))
        assert data(other, shape) == data(store, shape)


def test_plain_text_and_turns_in_chosen_are_understood(store: FeedbackStore, tmp_path: Path):
    file = lines(
        tmp_path / "rows.jsonl",
        {"prompt": "Q?", "chosen": "A", "rejected": "B"},
        {"chosen": [user("Q?"), assistant("A")], "rejected": [user("Q?"), assistant("B")]},
    )
    assert store.load(file).imported == 2
    assert data(store, "preference") == [PREFERENCE] * 2


def test_a_second_import_of_the_same_file_does_nothing(store: FeedbackStore, tmp_path: Path):
    file = lines(tmp_path / "rows.jsonl", MESSAGES)
    store.load(file)
    before = raw(store)
    with pytest.raises(Invalid, match="imported before"):
        store.load(file)
    assert raw(store) == before


BROKEN = {
    "half a row {": "not a JSON object",
    '"a text"': "not a JSON object",
    '{"question": "Q?"}': "no known columns",
    '{"prompt": "Q?", "chosen": "A", "rejected": "A"}': "identical",
    '{"prompt": "Q?", "chosen": "", "rejected": "B"}': "one assistant turn with text",
    '{"prompt": "Q?", "completion": "A", "label": "yes"}': "true or false",
    '{"messages": [{"role": "user", "content": "Q?"}]}': "does not end with an answer",
    '{"messages": [{"role": "assistant", "content": "A"}]}': "does not end with a user's turn",
    '{"prompt": "Q?"}': "a question without an answer",
    '{"text": "Once."}': "a plain text, which nobody judged",
    '{"messages": [{"role": "robot", "content": "Q?"}]}': "role is not one of",
    '{"messages": [{"role": "user"}]}': "has no text",
    '{"messages": []}': "neither text nor a list",
    '{"chosen": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A"}],'
    ' "rejected": [{"role": "user", "content": "R?"}, {"role": "assistant", "content": "B"}]}': (
        "different prompts"
    ),
}


def test_broken_rows_are_named_by_line_and_stop_the_import(store: FeedbackStore, tmp_path: Path):
    file = lines(tmp_path / "rows.jsonl", MESSAGES, "", *BROKEN)
    before = raw(store)
    report = store.load(file)
    assert (report.read, report.imported) == (1 + len(BROKEN), 0)
    assert list(report.broken) == list(range(3, 3 + len(BROKEN)))
    for found, expected in zip(report.broken.values(), BROKEN.values(), strict=True):
        assert expected in found
    assert raw(store) == before


def test_examples_are_read_line_by_line_without_a_store(tmp_path: Path):
    file = lines(tmp_path / "rows.jsonl", MESSAGES, "", "broken", PREFERENCE, UNPAIRED)
    read = dict(read_examples(file))
    assert list(read) == ["line 1", "line 3", "line 4", "line 5"]
    broken = read.pop("line 3")
    assert isinstance(broken, Invalid)
    assert str(broken) == "not a JSON object"
    assert {line: (e.kind, e.prompt, e.texts, e.liked) for line, e in read.items()} == {
        "line 1": ("chat", [user("Q?")], ("A",), True),
        "line 4": ("pair", [user("Q?")], ("A", "B"), True),
        "line 5": ("thumb", [user("Q?")], ("A",), True),
    }


def test_examples_of_a_file_that_cannot_be_read_are_refused(tmp_path: Path):
    with pytest.raises(Invalid, match="Cannot read"):
        next(read_examples(tmp_path / "gone.jsonl"))


def test_the_sound_rows_are_imported_if_asked(store: FeedbackStore, tmp_path: Path):
    file = lines(tmp_path / "rows.jsonl", MESSAGES, "broken", PREFERENCE)
    report = store.load(file, skip_broken=True)
    assert (report.imported, list(report.broken)) == (2, [2])
    assert len(data(store, "messages")) == 1
    assert len(data(store, "preference")) == 1


def test_unknown_columns_are_told_and_not_kept(store: FeedbackStore, tmp_path: Path):
    report = store.load(lines(tmp_path / "rows.jsonl", MESSAGES | {"score": 3, "judge": "me"}))
    assert report.ignored_columns == {"score", "judge"}


def test_files_that_cannot_be_read_are_refused(store: FeedbackStore, tmp_path: Path):
    (tmp_path / "rows.xls").write_text("a,b")
    (tmp_path / "rows.parquet").write_bytes(b"not parquet")
    for name, words in (
        ("gone.jsonl", "Cannot read"),
        ("rows.xls", "should end in"),
        ("rows.parquet", "not a readable Parquet"),
    ):
        with pytest.raises(Invalid, match=words):
            store.load(tmp_path / name)


def test_a_binary_file_called_jsonl_is_broken_not_a_crash(store: FeedbackStore, tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    pq.write_table(pa.table({"a": [1]}), file)
    assert store.load(file).broken


def test_a_ranking_is_imported_with_its_ties(store: FeedbackStore, tmp_path: Path):
    ranked = {"prompt": "Q?", "completions": ["C", "A", "B"], "scores": [1, 9, 1]}
    assert store.load(lines(tmp_path / "rows.jsonl", ranked)).imported == 1
    sides = [
        (r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in data(store, "preference")
    ]
    assert sorted(sides) == [("A", "B"), ("A", "C")]


def test_rows_with_tools_are_not_imported(store: FeedbackStore, tmp_path: Path):
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    report = store.load(lines(tmp_path / "rows.jsonl", MESSAGES | {"tools": [tool]}))
    assert report.broken == {1: "has tools, which an import does not keep"}
