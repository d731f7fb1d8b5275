"""Server-sent events: whole, whatever the pieces they come in."""

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from assistant import sse


class Response:
    """A response whose content comes in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.content = self
        self._pieces = pieces

    async def iter_any(self):
        for piece in self._pieces:
            yield piece


def cut(pieces: list[bytes]) -> list[bytes]:
    async def collect() -> list[bytes]:
        return [block async for block in sse.blocks(cast(Any, Response(pieces)))]

    return asyncio.run(collect())


@given(st.lists(st.text(), max_size=4), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_events_survive_any_cutting(texts: list[str], sizes: list[int]):
    bodies = [{"text": text} for text in texts]
    stream = b"".join(map(sse.event, bodies)) + sse.DONE
    pieces, start = [], 0
    while start < len(stream):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(stream[start : start + size])
        start += size
    blocks = cut(pieces)
    assert b"".join(blocks) == stream
    assert [sse.payload(block) for block in blocks] == [*bodies, None]


def test_an_unfinished_event_is_not_passed_on():
    assert cut([b"data: {}\n\ndata: {"]) == [b"data: {}\n\n"]


def test_comments_have_no_payload():
    assert sse.payload(b": ping\n\n") is None
