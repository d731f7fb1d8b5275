"""POST /v1/completions: what may be sent."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from assistant.api.schemas.chat import MOST_TOP_LOGPROBS
from assistant.api.schemas.sampling import Sampled

MOST_PROMPTS = 16


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

    prompt: Prompt
    """The text, or several texts that are continued independently."""
    echo: bool = False
    """Whether the text itself comes back before its continuation."""
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    """Of how many likely tokens log-probabilities are given."""

    def texts(self) -> list[str | None]:
        """What is to be continued."""
        return [*self.prompt] if isinstance(self.prompt, list) else [self.prompt]

    def longest(self) -> int | None:
        """The most tokens of all prompts' continuations together, if the request says."""
        return self.max_tokens and self.max_tokens * len(self.texts())

    def upstream(self) -> dict[str, Any]:
        """What the engine is asked, field by field."""
        asked = self.sampling("logprobs", "echo")
        return {"prompt": self.prompt, **asked, **self.streaming()}
