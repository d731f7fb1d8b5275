"""A fair, bounded queue: so many at once, and the others wait in turn, party by party."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from assistant.errors import Busy

SMOOTHING = 0.1  # weight of the latest turn in how long turns take
FIRST_GUESS = 5.0  # seconds


class Turnstile:
    """Lets `places` in at once; up to `waiting` more wait, no longer than `patience` seconds.

    Whoever leaves lets the next party's first one in, so that one who asks much cannot keep
    another from asking at all; where no more may wait, the party with most of them gives way.
    """

    def __init__(self, places: int, waiting: int, patience: float) -> None:
        self.places = places
        self.inside = 0
        self._waiting = waiting
        self._patience = patience
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._seconds = FIRST_GUESS

    @property
    def queued(self) -> int:
        """How many wait."""
        return sum(map(len, self._lines.values()))

    @asynccontextmanager
    async def turn(self, party: str) -> AsyncIterator[None]:
        """Inside the block, one of the places is taken. Raises Busy where there is no hope."""
        await self._enter(party)
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds += SMOOTHING * (time.monotonic() - began - self._seconds)
            self.inside -= 1
            self._let_in()

    async def _enter(self, party: str) -> None:
        if self.inside < self.places:  # then nobody waits
            self.inside += 1
            return
        self._make_room(party)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(party, deque()).append(place)
        try:
            await asyncio.wait_for(asyncio.shield(place), self._patience)
        except BaseException as error:
            self._give_up(party, place)
            if isinstance(error, TimeoutError):
                raise self._busy("did not get its turn in time") from None
            raise

    def _make_room(self, party: str) -> None:
        if self.queued < self._waiting:
            return
        longest = max(self._lines, key=lambda name: len(self._lines[name]), default=party)
        if len(self._lines.get(longest, ())) <= len(self._lines.get(party, ())) + 1:
            raise self._busy("found too many others waiting")
        gives_way = self._lines[longest].pop()
        gives_way.set_exception(self._busy("had to give way to somebody who asks less"))

    def _give_up(self, party: str, place: asyncio.Future[None]) -> None:
        line = self._lines.get(party)
        if line and place in line:
            line.remove(place)
            if not line:
                del self._lines[party]
        if place.done() and not place.cancelled() and place.exception() is None:
            self.inside -= 1  # it was let in just when it gave up
            self._let_in()

    def _let_in(self) -> None:
        while self.inside < self.places and self._lines:
            party, line = next(iter(self._lines.items()))
            place = line.popleft()
            if line:
                self._lines.move_to_end(party)
            else:
                del self._lines[party]
            if not place.done():
                self.inside += 1
                place.set_result(None)

    def _busy(self, what: str) -> Busy:
        wait = max(1, round(self._seconds * (self.queued + 1) / self.places))
        return Busy(f"The request {what}; please try again in {wait} s.", wait)
