"""Rows on disk, and hashes of what they hold."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assistant.feedback.rows import Row


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
    for name in ("judgement_ids", "unfinished"):
        fields[name] = tuple(fields[name])
    return Row(**fields)


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 of what rows hold, whatever file they came from."""
    return hashed([row.data for row in rows])


def hashed(value: Any) -> str:
    """SHA-256 of anything JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
