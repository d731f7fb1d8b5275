"""The text of a row, and its words in any script."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from assistant.feedback.rows import Row

# A letter of a script without spaces counts as a word; what stands between words does not.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
ANSWERS = ("chosen", "rejected", "completion")


def words(text: str) -> list[str]:
    """Lower-case words; what two texts must share to say the same."""
    return WORD.findall(text.lower())


def prompt_of(row: Row) -> str:
    """What was asked, the system message left out."""
    turns = row.data.get("prompt") or row.data.get("messages", [])[:-1]
    return "\n".join(turn["content"] or "" for turn in turns if turn["role"] != "system")


def answers_of(row: Row) -> list[str]:
    """What was answered: of a chat the last turn, of a pair the better side first."""
    data = row.data
    if "text" in data:
        return [data["text"]]
    sides = [data["messages"]] if "messages" in data else [data[n] for n in ANSWERS if n in data]
    return [side[-1]["content"] or "" for side in sides]


def whole_text(row: Row) -> str:
    """Everything a row says, in order."""
    return "\n".join(_texts(row.data))


def rewritten(row: Row, change: Callable[[str], str]) -> Row:
    """The row with every text changed; the same object where nothing changes."""
    data = _changed(row.data, change)
    return row if data == row.data else replace(row, data=data)


def _texts(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, name)
    elif isinstance(value, str) and name in ("content", "text"):
        yield value


def _changed(value: Any, change: Callable[[str], str], name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _changed(inner, change, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_changed(inner, change, name) for inner in value]
    return change(value) if isinstance(value, str) and name in ("content", "text") else value
