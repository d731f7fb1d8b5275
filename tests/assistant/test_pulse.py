"""The pulse of an engine: a hang is seen, and slowness is not taken for one."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from assistant import local_engine, pulse
from assistant.engine import Engine
from assistant.errors import EngineError
from assistant.local_engine import LocalEngine
from assistant.pulse import Pulse
from tests.assistant.doors import ANNS_CALLS
from tests.assistant.test_engine import PLAN, started, until, version

__all__ = ["version"]
ASKED = {"messages": [{"role": "user", "content": "stall"}]}


class Patient(Engine):
    """An engine whose counters and answers a test sets."""

    def __init__(self) -> None:
        self.in_flight = 1
        self.tokens: float | None = 0.0
        self.well = True

    async def start(self) -> None: ...

    async def metrics(self) -> str:
        if self.tokens is None:
            raise ConnectionRefusedError
        return (
            'vllm:generation_tokens_total{engine="0",model_name="x"} '
            f'{self.tokens}\nvllm:generation_tokens_created{{a="b"}} 1e9\n'
        )

    async def answers(self) -> bool:
        return self.well


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Patient:
    clock = [100.0]
    monkeypatch.setattr("assistant.pulse.time.monotonic", lambda: clock[0])
    found = Patient()
    found.clock = clock
    return found


def looked_at(patient: Patient, *, computing: float, tokens: float, looks: int) -> str | None:
    """What a pulse says after looks five seconds apart, at so much work and so many tokens each."""
    taken = Pulse(patient, os.getpid())
    worked = [0.0]
    taken._computing = lambda: worked[0]  # type: ignore[method-assign]

    async def look() -> str | None:
        for _ in range(looks):
            patient.clock[0] += 5
            worked[0] += computing
            if patient.tokens is not None:
                patient.tokens += tokens
            if said := await taken.lost():
                return said
        return None

    return asyncio.run(look())


def test_who_makes_tokens_is_well_however_little_it_computes(patient: Patient):
    assert looked_at(patient, computing=0, tokens=1, looks=100) is None


def test_who_computes_may_be_silent_for_a_while_but_not_for_ever(patient: Patient):
    assert looked_at(patient, computing=5, tokens=0, looks=60) is None
    assert "no token for 305 s" in looked_at(patient, computing=5, tokens=0, looks=61)


def test_who_does_nothing_hangs(patient: Patient):
    assert looked_at(patient, computing=0.01, tokens=0, looks=6) is None
    assert "no token for 35 s" in looked_at(patient, computing=0.01, tokens=0, looks=7)


def test_who_cannot_be_reached_hangs(patient: Patient):
    patient.tokens = None
    assert "not to be reached" in looked_at(patient, computing=5, tokens=0, looks=7)


def test_who_is_idle_is_asked_now_and_then(patient: Patient):
    patient.in_flight = 0
    assert looked_at(patient, computing=0, tokens=0, looks=100) is None
    patient.well = False
    assert "did not answer a test" in looked_at(patient, computing=0, tokens=0, looks=6)


def test_a_stopped_child_is_ended_and_comes_back(
    version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local_engine, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(pulse, "STILL_SECONDS", 0.5)
    monkeypatch.setattr("assistant.engine.METRICS_SECONDS", 0.2)

    async def run() -> None:
        async with started(version, tmp_path / "logs") as engine:
            await until(engine, "ready")
            child = psutil.Process(engine.pid)

            async def ask() -> None:
                async with engine.post("/v1/chat/completions", ASKED, ANNS_CALLS) as response:
                    await response.read()

            asking = asyncio.create_task(ask())
            while not engine.turnstile.inside:
                await asyncio.sleep(0.01)
            child.send_signal(signal.SIGSTOP)
            with pytest.raises(EngineError, match="broke off"):
                await asyncio.wait_for(asking, 10)
            await until(engine, "ready")
            assert engine.pid != child.pid
            assert not child.is_running()

    asyncio.run(run())


def test_a_child_whose_socket_is_gone_comes_back(
    version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local_engine, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(pulse, "IDLE_LOOK_SECONDS", 0.2)

    async def run() -> None:
        engine = LocalEngine(version, PLAN, tmp_path / "logs")
        await engine.start()
        try:
            await until(engine, "ready")
            first = engine.pid
            engine._socket.unlink()
            async with asyncio.timeout(20):
                while engine.pid in (first, None) or engine.status.state != "ready":
                    await asyncio.sleep(0.02)
        finally:
            await engine.stop()

    asyncio.run(run())
