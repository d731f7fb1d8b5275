"""POST /v1/feedback: the forms a judgement may have."""

from typing import Annotated, Any, Literal

from pydantic import Field

from assistant.api.schemas.strict import Strict
from assistant.errors import Invalid

MOST_ANSWERS = 64
MOST_REASONS = 16

Id = Annotated[str, Field(min_length=1, max_length=200)]
"""`<completion id>`, or `<completion id>#<index>` where it has several choices."""

Group = Annotated[list[Id], Field(max_length=MOST_ANSWERS)]


class Rating(Strict):
    """Up or down for one answer."""

    completion_id: Id
    rating: Literal["up", "down"]
    reasons: list[str] = Field(default_factory=list, max_length=MOST_REASONS)
    """For up: correct, helpful, clear, complete, concise, kind; for down: wrong, ignored_request,
    unclear, too_long, too_short, refused, harmful."""
    comment: str | None = None
    """In words."""


class Pair(Strict):
    """Which of two answers to one prompt is better."""

    pair: Annotated[list[Id], Field(min_length=2, max_length=2)]
    choice: Literal["first", "second", "tie", "both_bad"]


class Ranking(Strict):
    """Answers to one prompt, best first; those in one group are equally good."""

    ranking: Annotated[list[Group], Field(max_length=MOST_ANSWERS)]


class Correction(Strict):
    """A better answer than the one named."""

    completion_id: Id
    correction: str


class Withdrawal(Strict):
    """Take one of one's own judgements back."""

    withdraw: Id


Form = Rating | Pair | Ranking | Correction | Withdrawal
FORMS: dict[str, type[Form]] = {
    "rating": Rating,
    "pair": Pair,
    "ranking": Ranking,
    "correction": Correction,
    "withdraw": Withdrawal,
}


def read_form(body: dict[str, Any]) -> Form:
    """The judgement in `body`, told by the one field that only its form has."""
    named = [form for field, form in FORMS.items() if body.get(field) is not None]
    if len(named) != 1:
        raise Invalid(
            "A judgement has exactly one of: rating (with completion_id), pair (with choice), "
            "ranking, correction (with completion_id), withdraw."
        )
    return named[0].read(body)
