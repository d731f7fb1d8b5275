"""Lists of events in pages."""

from typing import Any

import sqlalchemy as sa


def beyond(
    query: sa.Select[Any], seq: sa.Column[Any], known: int | None, limit: int, newest_first: bool
) -> sa.Select[Any]:
    """The events of `query` after a known one, and one more than `limit`, which tells of more."""
    if known is not None:
        query = query.where(seq < known if newest_first else seq > known)
    return query.order_by(seq.desc() if newest_first else seq).limit(limit + 1)
