"""Tools and their calls in the rows of a file, brought into OpenAI's form."""

import json
from typing import Any

from assistant.errors import Invalid


def call_of(call: Any) -> dict[str, Any]:
    """A tool call in OpenAI's form, its arguments as an object, as the chat template shows them."""
    call = _json(call)
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Invalid("a tool call names no function")
    arguments = _json(function.get("arguments", {}))
    if not isinstance(arguments, dict):
        raise Invalid("a tool call's arguments are not a JSON object")
    made = {"name": function["name"], "arguments": arguments}
    return {"type": "function", "function": made} | {k: call[k] for k in ("id",) if k in call}


def tools_of(tools: Any) -> tuple[dict[str, Any], ...]:
    """Tools in OpenAI's form, from a list or its JSON. Raises Invalid."""
    tools = _json(tools) if tools else []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Invalid("tools is not a list of objects")
    return tuple(t if "function" in t else {"type": "function", "function": t} for t in tools)


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise Invalid("a tool, a call or its arguments is not JSON") from None
