"""How an answer is drawn: the fields that chat and plain completions share."""

from abc import ABC, abstractmethod
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from assistant.access.ledger import estimated
from assistant.api.schemas.strict import Strict
from assistant.fleet import ALIAS

MOST_CHOICES = 4
MOST_STOPS = 16
MOST_BIASES = 300
MOST_TOKENS = 2**20  # beyond any context; the engine knows its own
SEEDS = 2**63
LIKELY_TOKENS = 256


def _stop(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    fits = isinstance(texts, list) and len(texts) <= MOST_STOPS
    if not fits or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"give a text, or up to {MOST_STOPS} of them.")
    return texts


def _biases(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) > MOST_BIASES:
        raise ValueError(f"give up to {MOST_BIASES} token ids with a number from -100 to 100 each.")
    for token, bias in value.items():
        number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not (token.isdecimal() and number and -100 <= bias <= 100):
            raise ValueError(f"{token!r} must be a token id, with a number from -100 to 100.")
    return value


Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Stop = Annotated[
    list[str],
    BeforeValidator(_stop),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "maxItems": MOST_STOPS,
                },
            ]
        }
    ),
]


class StreamOptions(Strict):
    """What a stream holds besides the answer."""

    include_usage: bool = False
    """Whether the last event counts tokens."""
    include_obfuscation: bool = False
    """Accepted; nothing is added to events here."""


class Sampled(Strict, ABC):
    """Fields of a request for one or several answers."""

    model: Annotated[str, Field(min_length=1, max_length=200)] = ALIAS
    """`assistant` (the current version), or the name of a served version."""
    max_tokens: Tokens | None = None
    """The most tokens of an answer; without it, what the context has room for."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 always takes the likeliest token; 1 if not given."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of likelihood that is drawn from."""
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    """How many answers."""
    stop: Stop | None = None
    """Texts before which an answer ends."""
    seed: Annotated[int, Field(ge=-SEEDS, lt=SEEDS)] | None = None
    """The same seed, version and request give the same answer on an idle engine."""
    presence_penalty: Penalty | None = None
    """Against tokens that were said at all."""
    frequency_penalty: Penalty | None = None
    """Against tokens by how often they were said."""
    logit_bias: Annotated[dict[str, float], BeforeValidator(_biases)] | None = None
    """Added to the logits of tokens, by id."""
    stream: bool = False
    """Whether the answer comes piece by piece."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    user: Annotated[str, Field(max_length=512)] | None = None
    """Accepted and not passed on."""
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    """Accepted and not passed on."""

    @field_validator("stream_options")
    @classmethod
    def _only_of_streams(
        cls, options: StreamOptions | None, found: ValidationInfo
    ) -> StreamOptions | None:
        if options and not found.data.get("stream"):
            raise ValueError("only allowed when 'stream' is true.")
        return options

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream is to end with the count of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, *more: str) -> dict[str, Any]:
        """What decides how answers are drawn, as it was sent; `more` are fields of the endpoint."""
        return self.given(
            *("max_tokens", "temperature", "top_p", "n", "stop", "seed"),
            *("presence_penalty", "frequency_penalty", "logit_bias"),
            *more,
        )

    def streaming(self) -> dict[str, Any]:
        """What the engine is told of streaming; it counts tokens whether the client asks or not."""
        return {"stream": True, "stream_options": {"include_usage": True}} if self.stream else {}

    def expected(self) -> int:
        """About how many tokens prompt and answers may have together."""
        return estimated(self.texts()) + (self.n or 1) * (self.longest() or LIKELY_TOKENS)

    @abstractmethod
    def upstream(self) -> dict[str, Any]:
        """What the engine is asked, field by field."""

    @abstractmethod
    def texts(self) -> list[str | None]:
        """What the prompt consists of."""

    def longest(self) -> int | None:
        """The most tokens of one answer, if the request says."""
        return self.max_tokens
