"""Exports: files that trainers read as they are, whole or not at all."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from assistant.errors import Invalid
from assistant.feedback.export import write
from assistant.feedback.rows import SHAPES, Row, Rows
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, ask, data, rows


@pytest.fixture
def spoken(store: FeedbackStore) -> FeedbackStore:
    for number in range(3):
        talk = ask(store, f"Übung {number} \u2028 一", "Bad.")
        store.judgements.thumb(ANN, "chat", talk.answers[0], "up")
        store.judgements.thumb(ANN, "chat", talk.answers[1], "down")
    return store


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_holds_the_rows_and_a_manifest_names_them(spoken, tmp_path: Path, shape):
    expected = data(spoken, shape)
    files = [tmp_path / "deep" / f"rows{suffix}" for suffix in (".jsonl", ".parquet")]
    for file in files:
        manifest = write(rows(spoken, shape), shape, file)
        beside = file.with_name(file.name + ".manifest.json")
        assert manifest == json.loads(beside.read_text())
        assert manifest["rows"] == len(expected) > 0
        assert manifest["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert len(manifest["judgements"]) > 0
    assert [json.loads(line) for line in files[0].read_bytes().split(b"\n")[:-1]] == expected
    assert pq.read_table(files[1]).to_pylist() == expected


def test_an_export_of_nothing_is_an_empty_file(store: FeedbackStore, tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    assert write(rows(store, "messages"), "messages", file)["rows"] == 0
    assert file.read_bytes() == b""


def test_a_name_without_a_known_ending_is_refused(tmp_path: Path):
    with pytest.raises(Invalid, match=r"\.jsonl or \.parquet"):
        write(Rows(), "messages", tmp_path / "rows.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    write(Rows([Row({"messages": []}, "conv", ("jdg",))]), "messages", file)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    with pytest.raises(Invalid, match="nothing was changed"):
        write(Rows(), "messages", tmp_path / "blocked" / "rows.jsonl")
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.name != "blocked"} == before
