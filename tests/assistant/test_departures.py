"""Engines that leave: after their last answer, unless they are taken back before."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from assistant import engine as engines
from assistant.departures import Departures
from assistant.engine import Engine
from assistant.remote_engine import RemoteEngine


class Slow(RemoteEngine):
    """An engine that is never started, answers something, and takes a while to stop."""

    def __init__(self, name: str = "v1") -> None:
        super().__init__(name, "http://nowhere")
        self._set("ready", "ready")
        self.in_flight = 1
        self.begun = self.stopped = 0

    async def stop(self) -> None:
        self.begun += 1
        await asyncio.sleep(0.1)
        self.stopped += 1
        await Engine.stop(self)


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "GRACE_SECONDS", 0)


def leaving(then: Callable[[Departures, Slow], Coroutine[Any, Any, None]]) -> Slow:
    async def run() -> Slow:
        departures, engine = Departures(), Slow()
        departures.add(engine)
        await asyncio.sleep(0.05)
        assert departures.engines == (engine,)
        await then(departures, engine)
        assert departures.engines == ()
        return engine

    return asyncio.run(run())


async def gone(departures: Departures) -> None:
    async with asyncio.timeout(5):
        while departures.engines:
            await asyncio.sleep(0.01)


def test_one_ends_after_its_last_answer():
    async def then(departures: Departures, engine: Slow) -> None:
        await asyncio.sleep(0.3)
        assert engine.begun == 0
        engine.in_flight = 0
        await gone(departures)

    assert leaving(then).stopped == 1


def test_one_that_is_taken_back_stays_and_may_leave_again():
    async def then(departures: Departures, engine: Slow) -> None:
        assert departures.take_back("v2") is None
        assert departures.take_back("v1") is engine
        engine.in_flight = 0
        await asyncio.sleep(0.3)
        assert engine.begun == 0
        departures.add(engine)
        await gone(departures)

    assert leaving(then).stopped == 1


@pytest.mark.parametrize("looks", range(12))
def test_one_is_either_taken_back_or_stopped_whenever_it_is_asked_for(looks: int):
    async def then(departures: Departures, engine: Slow) -> None:
        engine.in_flight = 0
        await asyncio.sleep(0.01 * looks)
        found = departures.take_back("v1")
        await gone(departures)
        await asyncio.sleep(0.2)
        assert engine.stopped == engine.begun == (0 if found else 1)

    leaving(then)


def test_one_that_cannot_answer_is_not_taken_back():
    async def then(departures: Departures, engine: Slow) -> None:
        engine._set("failed", "it hung")
        assert departures.take_back("v1") is None
        engine.in_flight = 0
        await gone(departures)

    assert leaving(then).stopped == 1


@pytest.mark.parametrize("in_flight", [0, 1])
def test_at_the_end_each_is_stopped_once(in_flight: int):
    async def then(departures: Departures, engine: Slow) -> None:
        engine.in_flight = in_flight
        async with asyncio.timeout(5):
            while not in_flight and not engine.begun:
                await asyncio.sleep(0.01)
        await departures.end()

    assert leaving(then).stopped == 1


def test_one_that_cannot_be_stopped_is_told_and_gone(caplog: pytest.LogCaptureFixture):
    async def then(departures: Departures, engine: Slow) -> None:
        engine.in_flight, engine._session = 0, object()  # which nobody can close
        await gone(departures)

    leaving(then)
    assert "Ending an engine failed" in caplog.text
