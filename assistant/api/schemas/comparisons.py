"""POST /v1/comparisons: what may be sent."""

from typing import Annotated

from pydantic import Field

from assistant.api.schemas.messages import Talk
from assistant.chat import Sampling
from assistant.pairs import PAIR_SAMPLING

MOST_TOKENS = 4096

Length = Annotated[int, Field(ge=1, le=MOST_TOKENS)]


class ComparisonRequest(Talk):
    """A question to be answered twice, so that the answers can be compared blind."""

    temperature: Annotated[float, Field(ge=0, le=2)] = PAIR_SAMPLING.temperature
    """0 would give the same answer twice."""
    top_p: Annotated[float, Field(gt=0, le=1)] = PAIR_SAMPLING.top_p
    """The share of likelihood that is drawn from."""
    max_tokens: Length = PAIR_SAMPLING.max_tokens
    """The most tokens of each answer."""
    max_completion_tokens: Length | None = None
    """The newer name of `max_tokens`; goes first."""

    @property
    def sampling(self) -> Sampling:
        """How both answers are drawn."""
        longest = self.max_completion_tokens or self.max_tokens
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=longest)
