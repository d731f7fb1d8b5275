"""A thousand streaming clients at once: answers, or honest refusals, and nothing left behind."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

import aiohttp
import psutil

from tests.e2e.product import Product

CLIENTS = 1000
TOKENS = 16
HONEST = {"200", "429", "503"}
PAGE = "/en/"
GROWTH_MIB = 30  # of a second crowd, once a first one has been there
CALM_SECONDS = 60  # for connections that are kept a while to be closed


def run(product: Product, clients: int = CLIENTS) -> dict[str, Any]:
    """All clients at once, once; then again, to see whether memory stays where it was."""
    assert product.process is not None
    program = psutil.Process(product.process.pid)
    before = program.num_fds()
    found: dict[str, Any] = {}
    for which in ("first", "again"):
        outcome, seconds, slowest = asyncio.run(crowd(product.url, clients, PAGE))
        memory = program.memory_info().rss / 2**20
        found[which] = {
            "outcomes": dict(outcome),
            "seconds": round(seconds, 1),
            "slowest_page_s": round(slowest, 2),
            "memory_mib": round(memory),
            "open_files": settled(program, before),
            "before": before,
        }
        print(which, json.dumps(found[which]), flush=True)
        assert set(outcome) <= HONEST, outcome
        assert outcome["200"] > 0
        assert found[which]["open_files"] <= before + 5, "connections are never closed"
    grown = found["again"]["memory_mib"] - found["first"]["memory_mib"]
    assert grown <= GROWTH_MIB, f"a second crowd took {grown} MiB more"
    return found


def settled(program: psutil.Process, before: int) -> int:
    """How many files a program has open when it had time to close them."""
    ends = time.monotonic() + CALM_SECONDS
    while program.num_fds() > before and time.monotonic() < ends:
        time.sleep(1)
    return int(program.num_fds())


async def crowd(url: str, clients: int, path: str) -> tuple[Counter[str], float, float]:
    """What became of all requests, how long it took, and the slowest look at another path."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600)
    waits = [0.0]

    async def look(session: aiohttp.ClientSession) -> None:
        while True:
            asked = time.monotonic()
            async with session.get(path) as answer:
                assert answer.status == 200, answer.status
                await answer.read()
            waits.append(time.monotonic() - asked)
            await asyncio.sleep(0.2)

    began = time.monotonic()
    async with (
        aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session,
        aiohttp.ClientSession(url, timeout=timeout) as visitor,  # whose connections no crowd kept
    ):
        looking = asyncio.create_task(look(visitor))
        outcomes = await asyncio.gather(*(_one(session, number) for number in range(clients)))
        looking.cancel()
        (ended,) = await asyncio.gather(looking, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended
    return Counter(outcomes), time.monotonic() - began, max(waits)


async def _one(session: aiohttp.ClientSession, number: int) -> str:
    """What became of one client's request: a status, or the kind of a failure."""
    body = {
        "messages": [{"role": "user", "content": f"Count from {number}."}],
        "max_tokens": TOKENS,
        "stream": True,
    }
    try:
        async with session.post("/v1/chat/completions", json=body) as answer:
            text = await answer.text()
            if answer.status in (429, 503) and "Retry-After" not in answer.headers:
                return "refused without Retry-After"
            if answer.status == 200 and not text.endswith("data: [DONE]\n\n"):
                return f"broke off: {text[-100:]}"
            return str(answer.status)
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__
