"""What each key may still use, shared by every program over one database.

Requests and tokens are token buckets that fill up within a minute; requests under way are counted
per program, so that those of a program that died are forgotten.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import sqlalchemy as sa

from assistant.access.buckets import Allowance, Headers, require_place
from assistant.access.keys import Key
from assistant.access.schema import allowance as allowance_table
from assistant.access.schema import api_key, under_way
from assistant.feedback.records import now_ms

DEAD_AFTER = 15_000  # ms without a sign of life
HEARTBEAT_SECONDS = 5


class Meter:
    """Takes from a key's limits before a request, and gives back what it did not use.

    How many requests are under way here is known here, and only copied into the database: a write
    that fails is made good by the next one.
    """

    waits = True
    """Whether others wait for `settle`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        # SQLite lets one write at a time, and others look again after sleeping ever longer.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        self._program = secrets.token_hex(8)
        self._here = threading.Lock()
        self._running: dict[str, int] = {}
        self._owed: dict[str, tuple[Key, int]] = {}  # tokens to give back, by key

    def knows(self, _key: Key) -> bool:
        """Whether `take` needs no database for it."""
        return False

    def take(self, key: Key, tokens: int) -> Headers:
        """Count one request that may use up to `tokens`; returns the headers about limits.

        Raises TooMuch, with nothing taken.
        """
        with (
            self._counted(key) as count,
            self._giving_back(key) as back,
            self._writing() as connection,
        ):
            self._lock(connection, key)
            allowance = find_allowance(connection, key)
            allowance.give_back(back)
            running = self._elsewhere(connection, key) + self._at_work(key)
            require_place(running, key.limits.concurrent, allowance.headers)
            allowance.take(tokens)
            write_allowance(connection, key.id, *allowance.left, allowance.at)
            count()  # before the lock is let go, or two would take the last place
            self._set(connection, key.id, self._at_work(key))
        return allowance.headers

    def leave(self, key: Key, unused: int) -> None:
        """A request is over, and did not use so many tokens.

        `settle` tells the database, or the next request of the key does.
        """
        self._change(key, -1)
        self._owe(key, unused)

    def settle(self) -> None:
        """Tell the database of requests that are over; what it is not told now, it is next time."""
        with self._here:
            owed, self._owed = self._owed, {}
        while owed:
            _, (key, tokens) = owed.popitem()
            try:
                self._give_back(key, tokens)
            except Exception:
                for left, unused in [(key, tokens), *owed.values()]:
                    self._owe(left, unused)
                raise

    def beat(self) -> None:
        """A sign of life, every few seconds, for what is under way here."""
        dead = under_way.delete().where(under_way.c.seen_at < now_ms() - DEAD_AFTER)
        with self._here:
            running = dict(self._running)
            self._running = {key_id: count for key_id, count in running.items() if count}
        with self._writing() as connection:
            for key_id, count in running.items():
                self._set(connection, key_id, count)
            connection.execute(dead)

    def _give_back(self, key: Key, unused: int) -> None:
        with self._writing() as connection:
            self._lock(connection, key)
            allowance = find_allowance(connection, key)
            allowance.give_back(unused)
            write_allowance(connection, key.id, *allowance.left, allowance.at)
            self._set(connection, key.id, self._at_work(key))

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._turn, self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _giving_back(self, key: Key) -> Iterator[int]:
        """Tokens that are owed to a key; they still are where the block fails."""
        with self._here:
            owed = self._owed.pop(key.id, None)
        try:
            yield owed[1] if owed else 0
        except BaseException:
            if owed:
                self._owe(*owed)
            raise

    def _owe(self, key: Key, unused: int) -> None:
        with self._here:
            self._owed[key.id] = key, self._owed.get(key.id, (key, 0))[1] + unused

    def _change(self, key: Key, by: int) -> None:
        with self._here:
            self._running[key.id] = self._running.get(key.id, 0) + by

    @contextmanager
    def _counted(self, key: Key) -> Iterator[Callable[[], None]]:
        """Gives a function that counts a request; not counted after all where the block fails."""
        counted = False

        def count() -> None:
            nonlocal counted
            self._change(key, 1)
            counted = True

        try:
            yield count
        except BaseException:
            if counted:
                self._change(key, -1)
            raise

    def _at_work(self, key: Key) -> int:
        """How many of a key's requests are under way in this program."""
        with self._here:
            return self._running.get(key.id, 0)

    @staticmethod
    def _lock(connection: sa.Connection, key: Key) -> None:
        """One at a time per key; SQLite's transactions exclude each other anyway."""
        if connection.dialect.name == "sqlite":
            return
        query = sa.select(api_key.c.id).where(api_key.c.id == key.id)
        connection.execute(query.with_for_update())

    def _elsewhere(self, connection: sa.Connection, key: Key) -> int:
        """How many of a key's requests other programs answer."""
        if key.limits.concurrent is None:
            return 0
        others = (under_way.c.program != self._program) & (
            under_way.c.seen_at > now_ms() - DEAD_AFTER
        )
        total = sa.select(sa.func.coalesce(sa.func.sum(under_way.c.requests), 0))
        return connection.scalar(total.where(under_way.c.key_id == key.id, others)) or 0

    def _set(self, connection: sa.Connection, key_id: str, running: int) -> None:
        mine = (under_way.c.key_id == key_id) & (under_way.c.program == self._program)
        values = {"requests": running, "seen_at": now_ms()}
        if not connection.execute(under_way.update().where(mine).values(values)).rowcount:
            names = {"key_id": key_id, "program": self._program}
            connection.execute(under_way.insert().values(names | values))


def find_allowance(connection: sa.Connection, key: Key) -> Allowance:
    """What a key may use now, by what the database was told last."""
    query = sa.select(allowance_table).where(allowance_table.c.key_id == key.id)
    if not (row := connection.execute(query).one_or_none()):
        return Allowance.of(key.limits, now_ms())
    found = Allowance.of(key.limits, row.at, row.requests, row.tokens)
    found.wait_until(now_ms())
    return found


def write_allowance(
    connection: sa.Connection, key_id: str, requests: float | None, tokens: float | None, at: int
) -> None:
    """Tell the database what is left to a key."""
    values = {"requests": requests or 0.0, "tokens": tokens or 0.0, "at": at}
    mine = allowance_table.c.key_id == key_id
    if not connection.execute(allowance_table.update().where(mine).values(values)).rowcount:
        connection.execute(allowance_table.insert().values(values | {"key_id": key_id}))
