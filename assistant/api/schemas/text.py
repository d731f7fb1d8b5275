"""POST /v1/completions: what may be sent."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from assistant.api.schemas.chat import MOST_TOP_LOGPROBS
from assistant.api.schemas.sampling import MOST_TOKENS, Sampled
from assistant.errors import Invalid

MOST_PROMPTS = 16
TOKENS = 16  # of a continuation whose request does not say


def _prompts(prompt: Any) -> Any:
    texts = prompt if isinstance(prompt, list) else [prompt]
    known = all(isinstance(text, str) and text for text in texts)
    if not (known and 0 < len(texts) <= MOST_PROMPTS):
        raise ValueError(f"give a text, or a list of up to {MOST_PROMPTS} texts.")
    return prompt


ONE_PROMPT = {"type": "string", "minLength": 1}
Prompt = Annotated[
    str | list[str],
    BeforeValidator(_prompts),
    WithJsonSchema(
        {
            "anyOf": [
                ONE_PROMPT,
                {"type": "array", "items": ONE_PROMPT, "minItems": 1, "maxItems": MOST_PROMPTS},
            ]
        }
    ),
]


class TextRequest(Sampled):
    """A request to continue a text, as a base model does."""

    refused: ClassVar[Mapping[str, str]] = {
        "suffix": "the model cannot fill in the middle of a text",
        "best_of": "ask for several with 'n' and choose",
    }

    max_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    """The most tokens of each continuation; 16 if not given, and 0 only with `echo`."""
    prompt: Prompt
    """The text, or several texts that are continued independently."""
    echo: bool = False
    """Whether the text itself comes back before its continuation."""
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    """Of how many likely tokens log-probabilities are given."""

    @model_validator(mode="after")
    def _nothing_is_only_echoed(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise Invalid("'max_tokens' must be at least 1, or 'echo' true.", "max_tokens")
        return self

    def texts(self) -> list[str | None]:
        """What is to be continued."""
        return [*self.prompt] if isinstance(self.prompt, list) else [self.prompt]

    def longest(self) -> int:
        """The most tokens of all prompts' continuations together."""
        each = TOKENS if self.max_tokens is None else max(1, self.max_tokens)
        return each * len(self.texts())

    def upstream(self) -> dict[str, Any]:
        """What the engine is asked, field by field."""
        asked = self.sampling("logprobs", "echo")
        return {"prompt": self.prompt, **asked, **self.streaming()}
