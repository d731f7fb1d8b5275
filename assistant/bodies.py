"""Bodies of requests, read to their end or to a limit."""

from collections.abc import AsyncIterable

from assistant.errors import TooLarge


async def at_most(limit: int, pieces: AsyncIterable[bytes]) -> bytes:
    """All pieces together; raises TooLarge once they are more than `limit` bytes."""
    raw = bytearray()
    async for piece in pieces:
        raw += piece
        if len(raw) > limit:
            raise TooLarge(f"The request is too large; at most {limit} bytes are accepted.")
    return bytes(raw)
