"""An engine that answers soon, until the compiled one of the same version is there."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assistant import engine
from tests.assistant.rolling import children, house, is_damaged


@contextmanager
def answering(busy: engine.Engine) -> Iterator[None]:
    """While it gives an answer that takes long."""
    busy.in_flight += 1
    try:
        yield
    finally:
        busy.in_flight -= 1


def script(home: Path, name: str) -> Path:
    """Where a version's scripted engine finds what to do."""
    return home / "versions" / name


def test_the_compiled_engine_takes_over_without_dropping_an_answer(home: Path):
    async def run() -> None:
        async with house(home, compile="on") as program:
            await program.until(lambda: program.ready == ["v1"])
            first = program.fleet.engine()
            assert program.fleet.quickening
            with answering(first):
                await program.until(lambda: program.fleet.engine() is not first)
                assert first.status.state == "ready"
                assert await program.answered_by() == "v1"
                assert children() == ["v1", "v1"]
            await program.until(lambda: children() == ["v1"])
            assert program.said[-1] == "v1 is compiled"

    asyncio.run(run())


def test_where_compiling_fails_the_first_engine_stays(home: Path):
    (script(home, "v1") / "die-compiled").touch()

    async def run() -> None:
        async with house(home, compile="on") as program:
            await program.until(lambda: program.ready == ["v1"])
            first = program.fleet.engine()
            await program.until(lambda: not program.fleet.quickening)
            assert program.fleet.engine() is first
            assert await program.answered_by() == "v1"
            assert "v1 is served without being compiled: the engine ended" in program.said[-1]
            assert children() == ["v1"]

    asyncio.run(run())


def test_weights_damaged_meanwhile_are_not_compiled(home: Path):
    async def run() -> None:
        async with house(home, compile="on") as program:
            await program.until(lambda: program.served == ["v1"])
            is_damaged(program, "v1")
            await program.until(lambda: "without being compiled" in program.said[-1])
            assert "is not the file that was registered" in program.said[-1]
            assert program.ready == ["v1"]

    asyncio.run(run())


def test_a_promotion_waits_for_the_compiled_engine(home: Path):
    async def run() -> None:
        async with house(home, compile="on") as program:
            await program.until(lambda: program.ready == ["v1"])
            program.registry.promote("v2")
            await program.rollout.step()
            assert program.served == ["v1"]
            await program.steps_until(lambda: program.ready == ["v2"])
            await program.until(lambda: children() == ["v2"])

    asyncio.run(run())


def test_a_program_that_ends_while_compiling_leaves_no_engine(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "START_SECONDS", 60)
    (script(home, "v1") / "never-compiled").touch()

    async def run() -> None:
        async with house(home, compile="on") as program:  # which looks for children in the end
            await program.until(lambda: children() == ["v1", "v1"])
            assert program.fleet.quickening

    asyncio.run(run())
