"""What clients may send: JSON objects whose every field we decided to accept."""

import json
from typing import Any

from fastapi import Request

from assistant.errors import Invalid

BODY_BYTES = 4 * 2**20
MOST_CHOICES = 4
MOST_TOP_LOGPROBS = 5
ROLES = ("system", "developer", "user", "assistant")

SAMPLING_FIELDS = {
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
}
OURS = {"model", "stream", "stream_options", "user"}
CHAT_FIELDS = (
    SAMPLING_FIELDS
    | OURS
    | {"messages", "max_completion_tokens", "top_logprobs", "response_format", "store", "metadata"}
)
COMPLETION_FIELDS = SAMPLING_FIELDS | OURS | {"prompt", "echo"}
NOT_YET = {
    "seed": "fixed seeds",
    "tools": "tool calls",
    "tool_choice": "tool calls",
    "parallel_tool_calls": "tool calls",
    "functions": "tool calls",
    "function_call": "tool calls",
    "suffix": "text insertion",
}


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of a request's body; Invalid says what is wrong with it."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        # Also keeps other sites' pages out: browsers ask first before sending them JSON.
        raise Invalid("Send the body as JSON, with the header Content-Type: application/json.")
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > BODY_BYTES:
            raise Invalid(f"The request is too large; at most {BODY_BYTES} bytes are accepted.")
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Invalid(f"The body is not valid JSON: {error}.") from None
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object.")
    return body


def check_fields(body: dict[str, Any], accepted: set[str]) -> dict[str, Any]:
    """The body without nulls, if every field is one we honour."""
    given = {field: value for field, value in body.items() if value is not None}
    for field in given:
        if field in NOT_YET:
            raise Invalid(f"{field!r} is refused: {NOT_YET[field]} are not supported yet.", field)
        if field not in accepted:
            raise Invalid(f"Unrecognized request argument supplied: {field}.", field)
    if not isinstance(given.get("model", ""), str):
        raise Invalid("'model' must be a string.", "model")
    _check_at_most(given, "n", MOST_CHOICES)
    _check_at_most(given, "top_logprobs", MOST_TOP_LOGPROBS)
    for flag in ("stream", "store"):
        if not isinstance(given.get(flag, False), bool):
            raise Invalid(f"{flag!r} must be true or false.", flag)
    return given


def turns(messages: Any) -> list[dict[str, str]]:
    """The messages with plain-text contents; parts of text are joined."""
    if not isinstance(messages, list) or not messages:
        raise Invalid("'messages' must be a non-empty list.", "messages")
    return [_turn(message, f"messages[{index}]") for index, message in enumerate(messages)]


def metadata(given: Any) -> dict[str, str] | None:
    """OpenAI's metadata: up to 16 short strings."""
    if given is None:
        return None
    fits = (
        isinstance(given, dict)
        and len(given) <= 16
        and all(isinstance(v, str) and len(k) <= 64 and len(v) <= 512 for k, v in given.items())
    )
    if not fits:
        raise Invalid("'metadata' takes up to 16 strings of up to 512 characters.", "metadata")
    return dict(given)


def _turn(message: Any, where: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise Invalid(f"{where} must be an object with a role and a content.", where)
    role = message.get("role")
    if role in ("tool", "function"):
        raise Invalid(f"{where}: tool calls are not supported yet.", where)
    if role not in ROLES:
        raise Invalid(f"{where}: the role must be one of {', '.join(ROLES)}.", where)
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, where) for part in content)
    if not isinstance(content, str):
        raise Invalid(f"{where}: the content must be text.", where)
    return {"role": role, "content": content}


def _part(part: Any, where: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise Invalid(f"{where}: only parts of type 'text' are understood.", where)


def _check_at_most(body: dict[str, Any], field: str, most: int) -> None:
    value = body.get(field)
    if isinstance(value, int) and value > most:
        raise Invalid(f"{field!r} may be at most {most}.", field)
