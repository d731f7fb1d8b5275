"""The door: who is let in, asked of the database once for everybody who comes at the same time."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from assistant.access import door as doors
from assistant.access.accounts import Accounts
from assistant.access.callers import Caller
from assistant.access.door import Door
from assistant.access.keys import Limits
from assistant.errors import StoreError, TooMuch, Unknown

Work = Callable[[Door], Awaitable[None]]


def with_door(tmp_path: Path, work: Work, *, free: bool = False, alone: bool = False) -> None:
    async def run() -> None:
        accounts = Accounts(f"sqlite:///{tmp_path / 'a.db'}", alone=alone)
        door = Door(accounts, b"x" * 32, free=free)
        await door.start()
        try:
            await work(door)
        finally:
            await door.stop()

    asyncio.run(run())


def test_many_who_come_at_once_are_looked_up_once(tmp_path: Path):
    with Accounts(f"sqlite:///{tmp_path / 'a.db'}") as accounts:
        _, secret = accounts.keys.create("Ann", ("chat",))

    async def work(door: Door) -> None:
        looked = []
        of = door._accounts.keys.of
        door._accounts.keys.of = lambda s: looked.append(s) or of(s)  # type: ignore[method-assign]
        callers = await asyncio.gather(*(door.program(secret) for _ in range(50)))
        assert {caller.owner for caller in callers} == {callers[0].owner}
        assert looked == [secret]

    with_door(tmp_path, work)


def test_a_failure_is_not_remembered(tmp_path: Path):
    async def work(door: Door) -> None:
        exist = door._accounts.keys.exist
        broken = [True]

        def sometimes() -> bool:
            if broken:
                broken.pop()
                raise StoreError("The disk is full.")
            return exist()

        door._accounts.keys.exist = sometimes  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            await door.program(None)
        assert (await door.program(None)).owner == "local"

    with_door(tmp_path, work, free=True)


def test_what_is_known_is_forgotten_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doors, "MOST_REMEMBERED", 5)

    async def work(door: Door) -> None:
        for number in range(20):
            with pytest.raises(Unknown):
                await door.program(f"sk-assistant-{number}.x")
        assert len(door._known) <= 7

    with_door(tmp_path, work)


def test_a_visit_that_fails_gives_back_what_it_took(tmp_path: Path):
    with Accounts(f"sqlite:///{tmp_path / 'a.db'}") as accounts:
        key, secret = accounts.keys.create(
            "Ann", ("chat",), limits=Limits(tokens_per_minute=100, concurrent=1)
        )

    async def fail(door: Door, caller: Caller) -> None:
        async with door.visit(caller, "v1", 90) as used:
            assert used.headers["x-ratelimit-remaining-tokens"] == "10"
            with pytest.raises(TooMuch):
                await door.visit(caller, "v1", 90).__aenter__()
            raise ValueError("odd")

    async def work(door: Door) -> None:
        caller = await door.program(secret)
        for _ in range(3):
            with pytest.raises(ValueError, match="odd"):
                await fail(door, caller)
            await asyncio.sleep(0.1)

    with_door(tmp_path, work)
    with Accounts(f"sqlite:///{tmp_path / 'a.db'}") as accounts:
        (row,) = accounts.ledger.read()
        assert (row["who"], row["requests"], row["unfinished"]) == (key.id, 3, 3)


def test_browsers_with_one_key_queue_as_one(tmp_path: Path):
    with Accounts(f"sqlite:///{tmp_path / 'a.db'}") as accounts:
        key, _ = accounts.keys.create("Ann", ("chat",))

    async def work(door: Door) -> None:
        one, other = door.browser("browser_a", key), door.browser("browser_b", key)
        assert one.party == other.party == key.id
        assert one.salt != other.salt
        assert door.browser("browser_a").party == "browser_a"

    with_door(tmp_path, work)


def test_who_leaves_while_something_is_taken_gives_it_back(tmp_path: Path):
    with Accounts(f"sqlite:///{tmp_path / 'a.db'}") as accounts:
        key, _ = accounts.keys.create("Ann", ("chat",), limits=Limits(concurrent=1))

    async def work(door: Door) -> None:
        caller = door.browser("browser_a", key)
        take = door._accounts.meter.take

        def slowly(*given: object) -> dict[str, str]:
            time.sleep(0.2)
            return take(*given)  # type: ignore[arg-type]

        door._accounts.meter.take = slowly  # type: ignore[method-assign]
        entering = asyncio.create_task(door.visit(caller, "v1", 10).__aenter__())
        await asyncio.sleep(0.05)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await asyncio.sleep(0.5)
        async with door.visit(caller, "v1", 10):
            pass

    with_door(tmp_path, work)


def test_alone_a_busy_database_holds_nobody_up(tmp_path: Path):
    with Accounts(f"sqlite:///{tmp_path / 'a.db'}") as accounts:
        key, _ = accounts.keys.create("Ann", ("chat",), limits=Limits(requests_per_minute=100))

    async def work(door: Door) -> None:
        caller = door.browser("browser_a", key)
        busy = sqlite3.connect(tmp_path / "a.db")
        busy.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for left in range(99, 88, -1):
            async with door.visit(caller, "v1", 10) as used:
                assert used.headers["x-ratelimit-remaining-requests"] == str(left)
        assert time.monotonic() - began < 0.5
        busy.rollback()
        busy.close()

    with_door(tmp_path, work, alone=True)
