"""What a response is asked with: messages, calls that answers made, and the calls' outcomes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from assistant.api.schemas.messages import MOST_MESSAGES, Called, Name
from assistant.api.schemas.strict import Strict

PARTS = ("input_text", "output_text", "text")
CallId = Annotated[str, Field(min_length=1, max_length=200)]


def _text(content: Any) -> Any:
    """A text, or parts of text joined; of parts that a response gave, only the text is used."""
    if not isinstance(content, list):
        return content
    for part in content:
        known = isinstance(part, dict) and part.get("type") in PARTS
        if not known or not isinstance(part.get("text"), str):
            raise ValueError("only parts of type 'input_text' and 'output_text' are understood.")
    return "".join(part["text"] for part in content)


TEXT_PART = {
    "type": "object",
    "properties": {"type": {"enum": list(PARTS)}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
Text = Annotated[
    str,
    BeforeValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT_PART}]}),
]


class Item(Strict):
    """What all items may carry when a client sends back what it was given."""

    id: Annotated[str, Field(max_length=200)] | None = None
    """Accepted."""
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    """Accepted."""


class SaidItem(Item):
    """A turn of the conversation."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Text

    @property
    def turn(self) -> dict[str, Any]:
        """What the model gets of it."""
        return {"role": self.role, "content": self.content}


class CallItem(Item, Called):
    """A call that an answer asked for."""

    type: Literal["function_call"]
    name: Name
    call_id: CallId

    @property
    def turn(self) -> dict[str, Any]:
        """What the model gets of it."""
        called = {"name": self.name, "arguments": self.arguments}
        call = {"id": self.call_id, "type": "function", "function": called}
        return {"role": "assistant", "content": "", "tool_calls": [call]}


class OutcomeItem(Item):
    """What came out of a call."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Text

    @property
    def turn(self) -> dict[str, Any]:
        """What the model gets of it."""
        return {"role": "tool", "content": self.output, "tool_call_id": self.call_id}


FORMS = {"message": "Said", "function_call": "Call", "function_call_output": "Outcome"}


def _form(item: Any) -> str | None:
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)
    return FORMS.get(kind) if isinstance(kind, str) else None


AnyItem = Annotated[
    Annotated[SaidItem, Tag("Said")]
    | Annotated[CallItem, Tag("Call")]
    | Annotated[OutcomeItem, Tag("Outcome")],
    Discriminator(
        _form,
        custom_error_type="item_type",
        custom_error_message=f"must be an item of type {', '.join(FORMS)}",
    ),
]
Items = Annotated[list[AnyItem], Field(min_length=1, max_length=MOST_MESSAGES)]


def turns_of(items: list[SaidItem | CallItem | OutcomeItem]) -> list[dict[str, Any]]:
    """The items as turns; calls that belong to one answer stay together."""
    turns: list[dict[str, Any]] = []
    for item in items:
        turn = item.turn
        before = turns[-1] if turns else {}
        if isinstance(item, CallItem) and before.get("role") == "assistant":
            turns[-1] = before | {"tool_calls": before.get("tool_calls", []) + turn["tool_calls"]}
        else:
            turns.append(turn)
    return turns
