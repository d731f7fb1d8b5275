"""Lists in pages, as OpenAI's clients turn them."""

from typing import Annotated, Any, Literal

from fastapi import Query

MOST = 100

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
Order = Annotated[Literal["asc", "desc"], Query(description="Oldest first, or newest first.")]
After = Annotated[str | None, Query(description="The id of the last one that is known already.")]


def page(data: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """One page; each entry has an id."""
    ids = [one["id"] for one in data]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return {"object": "list", "data": data, **ends, "has_more": more}
