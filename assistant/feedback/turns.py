"""Messages as trainers read them: turns, the calls in them, and how an answer was asked for."""

import json
from statistics import fmean
from typing import Any

from assistant.feedback.records import Message

ENDED = ("stop", "tool_calls")
OTHER_TOOLS = "the two were offered different tools"
BROKEN_CALL = "a tool call whose arguments are not a JSON object"


def turn(message: Message) -> dict[str, Any]:
    """A message as chat templates read it: the arguments of its calls are objects, not text."""
    made = message.turn
    if message.tool_calls:
        made["tool_calls"] = [_call(call) for call in message.tool_calls]
    return made


def said(message: Message) -> tuple[str | None, list[Any]]:
    """What an answer says and calls, without the ids of the calls."""
    return message.content, [call["function"] for call in message.tool_calls or []]


def calls_well(message: Message) -> bool:
    """Whether every call of a message can be shown to a trainer."""
    try:
        calls = [_call(call)["function"]["arguments"] for call in message.tool_calls or []]
    except (ValueError, KeyError, TypeError):
        return False
    return all(isinstance(arguments, dict) for arguments in calls)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.loads(function["arguments"] or "{}")
    return {**call, "function": {**function, "arguments": arguments}}


def tools(*answers: Message) -> dict[str, Any] | None:
    """The column `tools` of a row with these answers, {} without any; None where they differ.

    A person's correction was offered what the answer it corrects was.
    """
    offered = [(a.generation.sampling or {}).get("tools") for a in answers if a.generation]
    if any(one != offered[0] for one in offered):
        return None
    return {"tools": offered[0]} if offered and offered[0] else {}


def temperature(*answers: Message) -> float:
    """The mean; what people wrote, and what was always the likeliest token, counts as 1."""
    sampling = [answer.generation.sampling if answer.generation else None for answer in answers]
    return fmean(float((how or {}).get("temperature") or 1.0) for how in sampling)


def cut_off(answer: Message) -> bool:
    """Whether the model had not ended when the answer did."""
    return answer.generation is not None and answer.generation.finish_reason not in ENDED
