"""Server-sent events, as OpenAI-compatible engines stream them."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import aiohttp

DONE = b"data: [DONE]\n\n"


async def blocks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """The stream cut into whole events, each with its trailing blank line."""
    async with aclosing(pieces(response)) as arrived:
        async for together in arrived:
            for block in together:
                yield block


async def pieces(response: aiohttp.ClientResponse) -> AsyncGenerator[list[bytes]]:
    """The same events, in lists of those that came together."""
    pending = b""
    async for piece in response.content.iter_any():
        *whole, pending = (pending + piece).split(b"\n\n")
        yield [block + b"\n\n" for block in whole]


def payload(block: bytes) -> dict[str, Any] | None:
    """The JSON object of an event; None for `[DONE]` and for comments."""
    data = block.strip().removeprefix(b"data:").strip()
    if not block.startswith(b"data:") or data == b"[DONE]":
        return None
    parsed: dict[str, Any] = json.loads(data)
    return parsed


def complaint(chunk: dict[str, Any]) -> str:
    """What an engine says in an event that is an error."""
    error = chunk.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    return str(said or "The engine failed.")


def event(body: dict[str, Any]) -> bytes:
    """One event carrying a JSON object."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"
