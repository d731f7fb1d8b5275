"""Rows on disk, and hashes of what they hold."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assistant.errors import Invalid
from assistant.feedback.rows import Row

OF_ROW = "from_feedback"  # the column of a file that keeps what was said of a row
KEPT = (
    "conversation_id", "judgement_ids", "unfinished", "corrected", "temperature", "weight",
    "person", "whole",
)  # fmt: skip
LISTS = ("judgement_ids", "unfinished")


def save(rows: Iterable[Row], file: Path) -> str:
    """Write rows as JSONL and return the file's SHA-256."""
    body = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows).encode()
    file.write_bytes(body)
    return hashlib.sha256(body).hexdigest()


def load(file: Path) -> list[Row]:
    """Rows that `save` wrote."""
    with file.open(encoding="utf-8") as lines:
        return [_row(json.loads(line)) for line in lines]


def _row(fields: dict[str, Any]) -> Row:
    for name in LISTS:
        fields[name] = tuple(fields[name])
    return Row(**fields)


def noted(row: Row) -> dict[str, Any]:
    """A row as a line that others can read, with all of it that they would not understand."""
    usual = asdict(Row({}, "", ()))
    fields = asdict(row)
    others = {name: fields[name] for name in KEPT if fields[name] != usual[name]}
    return row.facts | row.data | ({OF_ROW: others} if row.judgement_ids else {})


def restored(row: Row) -> Row:
    """A row with what `noted` wrote beside it, if it did. Raises Invalid where that is broken."""
    if OF_ROW not in row.facts:
        return row
    facts = {name: value for name, value in row.facts.items() if name != OF_ROW}
    told, usual = row.facts[OF_ROW], asdict(Row({}, "", ()))
    if not isinstance(told, dict) or any(
        name not in KEPT or not isinstance(value, list if name in LISTS else type(usual[name]))
        for name, value in told.items()
    ):
        raise Invalid(f"The column {OF_ROW} is not as `align data clean` wrote it.")
    return _row(asdict(row) | {"whole": False, "facts": facts} | told)


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 of what rows hold, whatever file they came from."""
    return hashed([row.data for row in rows])


def hashed(value: Any) -> str:
    """SHA-256 of anything JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
