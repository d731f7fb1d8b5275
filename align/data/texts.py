"""The text of a row, and its words in any script."""

import json
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


def calls_of(row: Row) -> list[str]:
    """The tool calls of each answer, as JSON; empty where there are none."""
    sides = [row.data[name] for name in ("messages", *ANSWERS) if name in row.data]
    calls = [side[-1].get("tool_calls") for side in sides] or [None]
    return [json.dumps(call, sort_keys=True) if call else "" for call in calls]


def whole_text(row: Row) -> str:
    """Everything a row says, in order."""
    return "\n".join(_texts(row.data))


def rewritten(row: Row, change: Callable[[str], str]) -> Row:
    """The row with every text changed; the same object where nothing changes."""
    data, facts = _changed(row.data, change), _changed(row.facts, change, ARGUMENTS)
    same = data == row.data and facts == row.facts
    return row if same else replace(row, data=data, facts=facts)


ARGUMENTS = "arguments"  # of a tool call: an object whose keys may be any
SAID = ("content", "text", ARGUMENTS)


def _texts(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, _named(name, key, inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, name)
    elif isinstance(value, str) and name in SAID:
        yield value


def _changed(value: Any, change: Callable[[str], str], name: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _changed(v, change, _named(name, k, v)) for k, v in value.items()}
    if isinstance(value, list):
        return [_changed(inner, change, name) for inner in value]
    return change(value) if isinstance(value, str) and name in SAID else value


def _named(outer: str, key: str, value: Any) -> str:
    """By what name a value is known: that of the arguments it is in, or its key."""
    if outer == ARGUMENTS:
        return outer
    return key if key != ARGUMENTS or isinstance(value, dict) else ""  # JSON is no text
