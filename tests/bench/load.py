"""Streaming clients, and what they saw: tokens a second, first tokens, the time between tokens."""

import asyncio
import itertools
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

TOKENS = 64
END = "2"  # the embedded model's end token: banned, so that every answer has equally many tokens
WORDS = ("rivers", "bridges", "bread", "clocks", "maps", "glass", "birds", "letters", "salt")


@dataclass
class Seen:
    """What all clients of one load saw; times in seconds."""

    seconds: float = 0.0
    tokens: int = 0
    firsts: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens of answers a second, all clients together."""
        return self.tokens / self.seconds

    def told(self) -> dict[str, float]:
        """The numbers of a row; milliseconds where it is a time."""
        gaps = statistics.quantiles(self.gaps, n=100) if len(self.gaps) > 1 else [0.0] * 99
        return {
            "tokens_s": self.rate,
            "first_ms": statistics.median(self.firsts) * 1000,
            "gap_p50_ms": gaps[49] * 1000,
            "gap_p99_ms": gaps[98] * 1000,
        }


@dataclass(frozen=True)
class Server:
    """Where to ask, as whom, for what; `socket` goes past TCP."""

    name: str
    url: str
    model: str
    key: str = "none"
    socket: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def session(self) -> aiohttp.ClientSession:
        """Connections to it."""
        connector = (
            aiohttp.UnixConnector(path=self.socket, limit=0)
            if self.socket
            else aiohttp.TCPConnector(limit=0)
        )
        headers = {"Authorization": f"Bearer {self.key}"}
        timeout = aiohttp.ClientTimeout(total=600)
        return aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)


def load(server: Server, clients: int, answers: int, pause: float = 0.0) -> Seen:
    """So many clients at once, until so many answers were given.

    Each thinks for `pause` seconds on average before it asks, the same for every server.
    """
    return asyncio.run(_load(server, clients, answers, pause))


def conversation(server: Server, turns: int) -> list[float]:
    """The wait for the first token of each turn of a growing conversation, in seconds."""
    return asyncio.run(_conversation(server, turns))


async def _load(server: Server, clients: int, answers: int, pause: float) -> Seen:
    seen, numbers = Seen(), itertools.count()
    async with server.session() as session:

        async def client() -> None:
            while (number := next(numbers)) < answers:
                await asyncio.sleep(random.Random(number).uniform(0, 2 * pause))
                topic = f"{WORDS[number % len(WORDS)]} ({clients}.{number})"
                asked = [{"role": "user", "content": f"Tell me something about {topic}."}]
                await _ask(session, server, asked, seen)

        began = time.monotonic()
        await asyncio.gather(*(client() for _ in range(clients)))
        seen.seconds = time.monotonic() - began
    return seen


async def _conversation(server: Server, turns: int) -> list[float]:
    seen, said = Seen(), []
    async with server.session() as session:
        for turn in range(turns):
            said.append({"role": "user", "content": f"What about {WORDS[turn % len(WORDS)]}?"})
            text = await _ask(session, server, said, seen)
            said.append({"role": "assistant", "content": text})
    return seen.firsts


async def _ask(
    session: aiohttp.ClientSession, server: Server, messages: Sequence[Any], seen: Seen
) -> str:
    body = {
        "model": server.model,
        "messages": list(messages),
        "max_tokens": TOKENS,
        "logit_bias": {END: -100},
        "stream": True,
        "stream_options": {"include_usage": True},
        **server.more,
    }
    asked, latest, text = time.monotonic(), 0.0, ""
    async with session.post(server.url + "/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                seen.tokens += chunk["usage"]["completion_tokens"]
            elif piece := chunk["choices"][0]["delta"].get("content"):
                now = time.monotonic()
                if latest:
                    seen.gaps.append(now - latest)
                else:
                    seen.firsts.append(now - asked)
                latest, text = now, text + piece
    return text
