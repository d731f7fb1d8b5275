"""POST /v1/moderations: what may be sent."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from assistant.api.schemas.strict import Strict

MOST_TEXTS = 32
LONGEST = 100_000  # characters, of all texts together


def _texts(given: Any) -> Any:
    parts = given if isinstance(given, list) else [given]
    if not 0 < len(parts) <= MOST_TEXTS:
        raise ValueError(f"give a text, or up to {MOST_TEXTS} of them.")
    texts = [_text(part) for part in parts]
    if sum(map(len, texts)) > LONGEST:
        raise ValueError(f"all texts together may have at most {LONGEST} characters.")
    return texts


def _text(part: Any) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and set(part) == {"type", "text"}:
        part = part["text"]
    if not isinstance(part, str):
        raise ValueError("only texts can be classified here, and no images.")
    return part


TEXT = {"type": "string", "maxLength": LONGEST}
PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": TEXT},
    "required": ["type", "text"],
    "additionalProperties": False,
}
Texts = Annotated[
    list[str],
    BeforeValidator(_texts),
    WithJsonSchema(
        {
            "anyOf": [
                TEXT,
                {
                    "type": "array",
                    "items": {"anyOf": [TEXT, PART]},
                    "minItems": 1,
                    "maxItems": MOST_TEXTS,
                },
            ]
        }
    ),
]


class ModerationRequest(Strict):
    """A request to tell whether texts ask for harm."""

    input: Texts
    """A text, or several that are judged one by one; parts of the type `text` are texts, too."""
    model: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """A moderation version; without it, or with one of OpenAI's names, the newest one."""

    @property
    def version(self) -> str | None:
        """The version that was asked for by its name."""
        name = self.model
        return None if name is None or name in OPENAIS else name


OPENAIS = (
    *("omni-moderation-latest", "omni-moderation-2024-09-26"),
    *("text-moderation-latest", "text-moderation-stable"),
)
"""What clients ask for that were written for OpenAI's own server."""
