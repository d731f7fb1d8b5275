"""Functions that an answer may call, and whether it must."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from assistant.api.schemas.messages import Name
from assistant.api.schemas.strict import Strict

MOST_TOOLS = 128
SCHEMA_BYTES = 32 * 2**10
SCHEMA_DEPTH = 32


def _small(schema: dict[str, Any]) -> dict[str, Any]:
    if _deeper(schema, SCHEMA_DEPTH) or _bytes(schema) > SCHEMA_BYTES:
        raise ValueError(
            f"a schema may have {SCHEMA_BYTES // 1024} KiB and {SCHEMA_DEPTH} levels at most."
        )
    return schema


def _bytes(schema: dict[str, Any]) -> int:
    try:
        return len(json.dumps(schema, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise ValueError("holds half a character, which is no text.") from None


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(one, levels - 1) for one in inner)


JsonSchema = Annotated[dict[str, Any], AfterValidator(_small)]


class Function(Strict):
    """What can be called."""

    name: Name
    description: Annotated[str, Field(max_length=4096)] | None = None
    """When to call it, in words for the model."""
    parameters: JsonSchema | None = None
    """A JSON schema of its arguments."""
    strict: bool | None = None
    """Accepted; where a call is required, its arguments always keep to the schema."""


class Tool(Strict):
    """A tool; only functions are known."""

    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    """A function by its name."""

    name: Name


class NamedTool(Strict):
    """A tool by its name."""

    type: Literal["function"]
    function: NamedFunction


Tools = Annotated[list[Tool], Field(min_length=1, max_length=MOST_TOOLS)]


def _form(choice: Any) -> str:
    return "Word" if isinstance(choice, str) else "Named"


Word = Literal["none", "auto", "required"]
ToolChoice = Annotated[
    Annotated[Word, Tag("Word")] | Annotated[NamedTool, Tag("Named")], Discriminator(_form)
]
