"""Files: every kind gives numbered rows; what cannot be read is said with the file's name."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assistant.errors import Invalid
from assistant.feedback.reading import files_in, raw_rows

ROWS = [{"prompt": "Q?", "completion": "A"}, {"prompt": "R?", "completion": "B, and\nmore"}]


@pytest.fixture(params=["jsonl", "jsonl.gz", "json", "parquet", "csv"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = tmp_path / f"rows.{request.param}"
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    match request.param:
        case "jsonl":
            place.write_text(lines)
        case "jsonl.gz":
            place.write_bytes(gzip.compress(lines.encode()))
        case "json":
            place.write_text(json.dumps(ROWS, indent=2))
        case "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), place)
        case "csv":
            place.write_text('\ufeffprompt,completion\nQ?,A\nR?,"B, and\nmore"\n')
    return place


def test_the_same_rows_in_every_kind_of_file(file: Path):
    assert [row for _, row in raw_rows(file)] == ROWS


def test_a_line_too_long_for_its_table_is_broken_and_an_empty_cell_is_nothing(tmp_path: Path):
    file = tmp_path / "rows.csv"
    file.write_text("prompt,completion,label\nQ?,A,\nQ?,A,true,more\n")
    assert dict(raw_rows(file)) == {2: {"prompt": "Q?", "completion": "A"}, 3: None}


def test_turns_in_a_cell_are_read_as_json_and_cells_may_be_long(tmp_path: Path):
    file = tmp_path / "rows.csv"
    long = "x" * 200_000
    turns = '"[{""role"": ""user"", ""content"": ""Q?""}]"'
    file.write_text(f'prompt,completion\n{turns},{long}\n"[{{not JSON",A\n')
    assert [row for _, row in raw_rows(file)] == [
        {"prompt": [{"role": "user", "content": "Q?"}], "completion": long},
        {"prompt": "[{not JSON", "completion": "A"},
    ]


def test_a_plain_text_is_one_document(tmp_path: Path):
    file = tmp_path / "story.txt"
    file.write_text("Once.\n\nThen.")
    assert list(raw_rows(file)) == [(1, {"text": "Once.\n\nThen."})]


def test_a_folder_is_its_known_files(tmp_path: Path):
    for name in ("b.jsonl", "a/c.txt", "a/.hidden.txt", "README", "d.csv.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    names = [str(file.relative_to(tmp_path)) for file in files_in(tmp_path)]
    assert names == ["a/c.txt", "b.jsonl", "d.csv.gz"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.xls", b"x", "should end in .jsonl, .json"),
        ("rows.json", b"[{", "not a readable JSON list"),
        ("rows.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("rows.jsonl.gz", b"plain", "Cannot read"),
        ("rows.parquet", b"plain", "not a readable Parquet"),
        ("rows.jsonl.gz", gzip.compress(b"x" * 99, mtime=0)[:12] + b"\xff" * 20, "Cannot read"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, content: bytes, words: str):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(Invalid, match=words):
        list(raw_rows(file))


def test_a_folder_without_rows_is_said(tmp_path: Path):
    with pytest.raises(Invalid, match="holds no file that ends in"):
        files_in(tmp_path)
