"""Which of several engines of one version answers, and who steps in where it cannot."""

import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp

from assistant.access.callers import Caller
from assistant.engine import Engine
from assistant.errors import AssistantError, Busy, NotReady, Unreached

SLACK = 4  # so many more requests a conversation's own engine may have than the least busy one


@dataclass(frozen=True)
class Asking:
    """One request to whichever engine can answer it."""

    path: str
    body: dict[str, Any]
    caller: Caller
    request_id: str | None = None


def in_order(engines: Sequence[Engine], talk: str = "") -> list[Engine]:
    """Engines of one version, the one to ask first in front.

    A conversation keeps to its engine, whose cache knows its beginning, by rendezvous hashing
    (Thaler and Ravishankar 1998): an engine that comes or goes moves only its own conversations.
    One that is much busier than another, or not ready, is asked later.
    """
    ready = [engine for engine in engines if engine.status.state == "ready"]
    least = min((engine.in_flight for engine in ready), default=0)

    def rank(engine: Engine) -> tuple[bool, bool, int, bytes]:
        crowded = engine.in_flight > least + SLACK
        load = engine.in_flight if crowded or not talk else 0
        drawn = hashlib.sha256(f"{talk} {engine.url}".encode()).digest()
        return engine.status.state != "ready", crowded, load, drawn

    return sorted(engines, key=rank)


async def ask(
    around: AsyncExitStack, engines: Sequence[Engine], asking: Asking
) -> tuple[Engine, aiohttp.ClientResponse]:
    """The first engine that begins to answer, and its answer; it ends with what is `around`.

    Once an answer has begun nobody else is asked. Raises what the last engine did.
    """
    failed: AssistantError | None = None
    for engine in engines:
        post = engine.post(asking.path, asking.body, asking.caller, asking.request_id)
        try:
            return engine, await around.enter_async_context(post)
        except (NotReady, Busy, Unreached) as error:
            failed = failed or error
    assert failed is not None, "there is no engine to ask"
    raise failed
