"""Turns of a conversation, however a file writes them."""

import re
from collections.abc import Mapping
from typing import Any

from assistant.errors import Invalid
from assistant.feedback.tool_calls import call_of

Turns = list[dict[str, Any]]
ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "function_call": "call",
    "tool": "tool", "observation": "tool", "function": "tool",
}  # fmt: skip
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
KEPT = ("tool_calls", "tool_call_id", "name")


def turns(value: Any, role: str) -> Turns:
    """Turns of a conversation, or a plain text said by `role`. Raises Invalid."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise Invalid("a column holds neither text nor a list of turns")
    return [_turn(turn) for turn in value]


def _turn(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        raise Invalid("a turn is not a JSON object")
    role = ROLES.get(str(turn.get("role") or turn.get("from")))
    if role is None:
        raise Invalid(f"a turn's role is not one of {', '.join(ROLES)}")
    content = turn.get("content", turn.get("value"))
    if role == "call":  # ShareGPT: the call as JSON text in the place of the answer
        return {"role": "assistant", "content": "", "tool_calls": [call_of(content)]}
    kept = {name: turn[name] for name in KEPT if turn.get(name)}
    if role == "assistant" and "weight" in turn:
        kept |= _weight(turn["weight"])
    if "tool_calls" in kept:
        kept["tool_calls"] = [call_of(call) for call in kept["tool_calls"]]
    return {"role": role, "content": _said(turn, content), **kept}


def _said(turn: Mapping[str, Any], content: Any) -> str:
    """The text of a turn; where it only calls tools, none. Raises Invalid."""
    if isinstance(content, list):
        return _joined(content)
    if content is None and turn.get("tool_calls"):
        return ""
    if not isinstance(content, str):
        raise Invalid("a turn has no text")
    return content


def _weight(given: Any) -> dict[str, int]:
    """OpenAI's: an answer with 0 is read, and not learnt."""
    if given not in (0, 1):
        raise Invalid("a turn's weight is neither 0 nor 1")
    return {} if given else {"weight": 0}


def _joined(parts: list[Any]) -> str:
    """The text of content parts; raises Invalid for what is not text."""
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise Invalid("a turn holds something that is not text")
    return "".join(str(text) for text in texts)


def written_down(text: Any) -> Turns:
    """The turns of a text with "Human:" and "Assistant:" before them, as hh-rlhf has; else none."""
    if not (isinstance(text, str) and SPEAKER.match(text)):
        return []
    _, *parts = SPEAKER.split(text)
    said = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": SPEAKERS[speaker], "content": words.strip()} for speaker, words in said]
