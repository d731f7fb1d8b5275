"""The questions that people ask in the loop, by what they are for; sets share no family."""

import hashlib
import json

from assistant.prompts import FOLDER

FILE = FOLDER / "questions.jsonl"


def questions(purpose: str) -> list[str]:
    """The questions of one set (collect, trial or final), families mixed evenly."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    families: dict[str, list[str]] = {}
    for row in rows:
        if row["set"] == purpose:
            families.setdefault(row["family"], []).append(row["text"])
    mixed = [text for group in zip(*families.values(), strict=True) for text in group]
    assert len(mixed) == len(set(mixed))
    return mixed


def frozen(texts: list[str]) -> str:
    """SHA-256 of questions in their order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
