"""A remote engine: whether it works is told from outside, and a router learns of conversations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from assistant.engine import Status
from assistant.errors import EngineError
from assistant.remote_engine import RemoteEngine, served_by, session_of
from tests.assistant.doors import ANNS_CALLS
from tests.assistant.test_engine import until
from tests.serving import served
from tests.upstream import Upstream

CHAT = "/v1/chat/completions"
STALL = {"messages": [{"role": "user", "content": "stall"}], "stream": True}
SALT = {"cache_salt": ANNS_CALLS.salt}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assistant.remote_engine.WATCH_SECONDS", 0.05)
    monkeypatch.setattr("assistant.engine.CANARY_SECONDS", 0.3)


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[RemoteEngine]:
    engine = RemoteEngine("tiny", url)
    await engine.start()
    try:
        await until(engine, "ready")
        yield engine
    finally:
        await engine.stop()


def test_a_busy_engine_is_late_with_a_test_and_well():
    upstream, seen = Upstream(), []

    async def run(url: str) -> None:
        async with watched(url) as engine:
            async with engine.post(CHAT, STALL, ANNS_CALLS) as response:  # pieces keep coming
                upstream.late = 60
                for _ in range(20):
                    await asyncio.wait_for(response.content.readany(), 5)
                    seen.append(engine.status.state)
                    await asyncio.sleep(0.1)
            await until(engine, "failed")  # nothing comes any more

    with served(upstream.app) as url:
        asyncio.run(run(url))
    assert set(seen) == {"ready"}


def test_an_engine_that_refuses_a_test_is_not_well_whatever_it_still_answers():
    upstream = Upstream()

    async def run(url: str) -> Status:
        async with watched(url) as engine, engine.post(CHAT, STALL, ANNS_CALLS):
            upstream.healthy = False
            await until(engine, "failed")
            return engine.status

    with served(upstream.app) as url:
        assert "does not answer" in asyncio.run(run(url)).detail


def test_a_server_without_a_health_page_is_ready_by_its_token():
    upstream = Upstream()
    routes = upstream.app.router.routes
    routes[:] = [route for route in routes if getattr(route, "path", "") != "/health"]

    async def run(url: str) -> None:
        async with watched(url):
            pass

    with served(upstream.app) as url:
        asyncio.run(run(url))


def test_an_engine_that_asks_for_a_key_is_shown_it():
    async def run(url: str) -> tuple[str, str]:
        engine = RemoteEngine(await served_by(url, "k-1"), url, "k-1")
        await engine.start()
        try:
            await until(engine, "ready")
            async with engine.post(CHAT, talk("Be kind.", "hi"), ANNS_CALLS) as response:
                assert response.status == 200
        finally:
            await engine.stop()
        said = []
        for key in (None, "k-2"):
            with pytest.raises(EngineError) as refused:
                await served_by(url, key)
            said.append(str(refused.value))
        return said[0], said[1]

    with served(Upstream(key="k-1").app) as url:
        without, wrong = asyncio.run(run(url))
    assert without == f"The engine at {url} asks for a key: set ASSISTANT_ENGINE_KEY."
    assert wrong == f"The engine at {url} refuses its key: set ASSISTANT_ENGINE_KEY."


def talk(*contents: str, salt: str = "anns") -> dict[str, Any]:
    roles = ("system", "user", "assistant", "user")
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return {"messages": turns, "cache_salt": salt}


def test_a_router_is_told_which_requests_are_of_one_conversation():
    upstream = Upstream()

    async def run(url: str) -> None:
        async with watched(url) as engine:
            for body in (talk("Be kind.", "hi"), talk("Be kind.", "hi", "Yes?", "and")):
                async with engine.post(CHAT, body, ANNS_CALLS, "id"):
                    pass

    with served(upstream.app) as url:
        asyncio.run(run(url))
    assert upstream.sessions[0]
    assert upstream.sessions == [session_of(talk("Be kind.", "hi") | SALT)["X-Session-ID"]] * 2


def test_other_conversations_and_other_callers_have_other_sessions():
    bodies = [
        *(talk("Be kind.", "hi"), talk("Be kind.", "hi", salt="bens"), talk("Be kind.", "ho")),
        *({"prompt": "hi", "cache_salt": "anns"}, {"prompt": "ho", "cache_salt": "anns"}),
    ]
    assert len({session_of(body)["X-Session-ID"] for body in bodies}) == len(bodies)
    assert session_of({"prompt": "asked by the program itself"}) == {}
