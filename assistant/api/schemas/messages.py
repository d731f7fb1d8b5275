"""The turns of a conversation, as clients send them."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from assistant.api.schemas.strict import Strict

MOST_MESSAGES = 2048
MOST_CALLS = 128

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


def _text(content: Any) -> Any:
    """A text, or OpenAI's parts of text joined."""
    if not isinstance(content, list):
        return content
    for part in content:
        known = isinstance(part, dict) and part.get("type") == "text"
        if not known or not isinstance(part.get("text"), str) or set(part) != {"type", "text"}:
            raise ValueError("only parts of type 'text' are understood.")
    return "".join(part["text"] for part in content)


TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
Text = Annotated[
    str,
    BeforeValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT_PART}]}),
]


def _object(arguments: str) -> str:
    try:
        known = isinstance(json.loads(arguments or "{}"), dict)
    except (ValueError, RecursionError):
        known = False
    if not known:
        raise ValueError("must be a JSON object, as text.")
    return arguments


class Called(Strict):
    """A function, and what it is called with."""

    name: Name
    arguments: Annotated[str, AfterValidator(_object)]
    """JSON, as the model wrote it."""


class ToolCall(Strict):
    """A call that an answer asked for."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    type: Literal["function"] = "function"
    function: Called


class Message(Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | None = None
    """May be left out only where an answer calls tools instead."""
    name: Annotated[str, Field(max_length=64)] | None = None
    """Accepted; the template does not show it to the model."""
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=MOST_CALLS)] | None = None
    """What an answer of the assistant called."""
    tool_call_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The call whose outcome this is; only with the role tool."""

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        for wrong, sentence in COMPLAINTS:
            if wrong(self):
                raise ValueError(sentence)
        return self

    @property
    def turn(self) -> dict[str, Any]:
        """What the model gets of it."""
        calls = self.given("tool_calls", "tool_call_id")
        return {"role": self.role, "content": self.content or "", **calls}


COMPLAINTS: tuple[tuple[Callable[[Message], bool], str], ...] = (
    (lambda m: m.content is None and not m.tool_calls, "'content' is required."),
    (lambda m: bool(m.tool_calls) and m.role != "assistant", "only the assistant calls tools."),
    (
        lambda m: (m.tool_call_id is not None) != (m.role == "tool"),
        "'tool_call_id' belongs to the role tool, and to no other.",
    ),
)


class Talk(Strict):
    """A request about a conversation."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    """The conversation so far. Nothing is added to it: without a system message there is none."""

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The conversation as the model gets it."""
        return [message.turn for message in self.messages]
