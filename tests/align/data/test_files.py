"""Files: rows come back as they were saved, and hashes are of what they hold."""

import json
from pathlib import Path

from align.data.files import digest, load, save
from assistant.feedback.rows import Row
from tests.assistant.feedback.said import assistant, user

DIGEST = "f30f6128680134c02cde33a429735f04d43bec79119a62ed10d60649379bc588"  # of pair()
ASKED = [user("Name a color.")]


def pair(chosen: str = "Red.", rejected: str = "Go away.", **fields) -> Row:
    sides = {"chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}
    return Row({"prompt": ASKED, **sides}, "conv", ("j",), **fields)


def test_rows_are_saved_and_loaded_unchanged(tmp_path: Path):
    kept = [pair(chosen="Röd.\n红", unfinished=("chosen",)), pair(corrected=True)]
    saved = save(kept, tmp_path / "rows.jsonl")
    assert load(tmp_path / "rows.jsonl") == kept
    assert save(kept, tmp_path / "again.jsonl") == saved
    assert save(kept[:1], tmp_path / "less.jsonl") != saved


def test_the_digest_is_of_the_content_alone():
    assert digest([pair()]) == digest([Row(pair().data, "elsewhere", ("other",))])
    reordered = Row(dict(reversed(pair().data.items())), "conv", ())
    assert digest([pair()]) == digest([reordered])
    assert digest([pair()]) != digest([pair(chosen="Red")])
    assert digest([pair()]) == DIGEST


def test_rows_can_be_read_by_other_programs(tmp_path: Path):
    save([pair()], tmp_path / "rows.jsonl")
    [line] = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert json.loads(line)["data"]["chosen"] == [assistant("Red.")]
