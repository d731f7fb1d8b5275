"""The queue: bounded, fair between parties, and never losing a place."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from assistant.access.turnstile import Turnstile
from assistant.errors import Busy


class Crowd:
    """Parties at a turnstile; remembers in which order they were let in."""

    def __init__(self, turnstile: Turnstile) -> None:
        self.turnstile = turnstile
        self.let_in: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.leave = asyncio.Semaphore(0)

    async def come(self, *parties: str) -> None:
        for party in parties:
            self.tasks.append(asyncio.create_task(self._ask(party)))
            await asyncio.sleep(0)

    async def _ask(self, party: str) -> None:
        async with self.turnstile.turn(party):
            self.let_in.append(party)
            await self.leave.acquire()

    async def go(self) -> list[object]:
        """Everybody leaves; returns what became of them."""
        for _ in self.tasks:
            self.leave.release()
        return await asyncio.gather(*self.tasks, return_exceptions=True)


def run(work, places: int = 1, waiting: int = 8, patience: float = 5) -> Crowd:
    async def with_crowd() -> Crowd:
        crowd = Crowd(Turnstile(places, waiting, patience))
        await work(crowd)
        assert (crowd.turnstile.inside, crowd.turnstile.queued) == (0, 0)
        return crowd

    return asyncio.run(with_crowd())


def test_who_asks_much_does_not_keep_others_waiting():
    async def work(crowd: Crowd) -> None:
        await crowd.come("a", "a", "a", "a", "b", "c")
        assert await crowd.go() == [None] * 6

    assert run(work).let_in == ["a", "a", "b", "c", "a", "a"]


def test_no_more_than_there_are_places_are_inside():
    async def work(crowd: Crowd) -> None:
        await crowd.come("a", "a", "b", "b")
        assert (crowd.turnstile.inside, crowd.turnstile.queued) == (2, 2)
        crowd.leave.release()
        await asyncio.sleep(0.01)
        assert (crowd.turnstile.inside, crowd.turnstile.queued) == (2, 1)
        await crowd.go()

    run(work, places=2)


def test_where_no_more_may_wait_the_largest_party_gives_way():
    async def work(crowd: Crowd) -> None:
        await crowd.come("a", "a", "a", "a", "b")  # one inside, and three places to wait
        outcome = await crowd.go()
        assert [type(o) for o in outcome] == [type(None)] * 3 + [Busy, type(None)]
        assert "give way" in str(outcome[3])

    assert run(work, waiting=3).let_in == ["a", "a", "b", "a"]


def test_a_full_queue_refuses_and_says_when_to_come_again():
    async def work(crowd: Crowd) -> None:
        await crowd.come("a", "a", "a", "a")
        (refused,) = [o for o in await crowd.go() if o]
        assert isinstance(refused, Busy)
        assert refused.retry_after >= 1
        assert f"try again in {refused.retry_after} s" in str(refused)

    run(work, waiting=2)


def test_who_waits_too_long_is_told():
    async def work(crowd: Crowd) -> None:
        await crowd.come("a", "b")
        with pytest.raises(Busy, match="turn in time"):
            await crowd.tasks[1]
        await crowd.go()

    run(work, patience=0.05)


def test_who_leaves_the_queue_frees_the_place():
    async def work(crowd: Crowd) -> None:
        await crowd.come("a", "b", "c")
        crowd.tasks[1].cancel()
        await asyncio.wait({crowd.tasks[1]})
        assert crowd.turnstile.queued == 1
        await crowd.go()

    assert run(work).let_in == ["a", "c"]


def test_who_gives_up_just_when_let_in_passes_the_place_on():
    async def work(crowd: Crowd) -> None:
        await crowd.come("a", "b", "c")
        async with AsyncExitStack() as stack:
            stack.callback(crowd.tasks[1].cancel)
            crowd.leave.release()
            await asyncio.sleep(0)  # a leaves, and lets b in
            await asyncio.sleep(0)
        await crowd.go()
        assert crowd.tasks[2].exception() is None

    run(work)


def test_an_error_inside_frees_the_place():
    async def work(crowd: Crowd) -> None:
        with pytest.raises(ValueError, match="odd"):
            async with crowd.turnstile.turn("a"):
                raise ValueError("odd")

    run(work)
