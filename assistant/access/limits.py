"""What each key may still use, shared by every program over one database.

Requests and tokens are token buckets that fill up within a minute; requests under way are counted
per program, so that those of a program that died are forgotten.
"""

import math
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import sqlalchemy as sa

from assistant.access.keys import Key
from assistant.access.schema import allowance, api_key, under_way
from assistant.errors import TooMuch
from assistant.feedback.records import now_ms

MINUTE = 60_000
DEAD_AFTER = 15_000  # ms without a sign of life
HEARTBEAT_SECONDS = 5


@dataclass
class Bucket:
    """How much of a limit per minute is left; it fills up evenly."""

    name: str
    limit: int
    left: float

    def fill(self, ms: int) -> None:
        """Let time pass."""
        self.left = min(self.limit, self.left + self.limit * ms / MINUTE)

    def seconds_until(self, amount: float) -> float:
        """How long until it holds that much."""
        return max(0.0, (amount - self.left) * 60 / self.limit)

    @property
    def headers(self) -> dict[str, str]:
        """As OpenAI's API tells it."""
        return {
            f"x-ratelimit-limit-{self.name}": str(self.limit),
            f"x-ratelimit-remaining-{self.name}": str(max(0, math.floor(self.left))),
            f"x-ratelimit-reset-{self.name}": f"{self.seconds_until(self.limit):.3f}s",
        }


class Meter:
    """Takes from a key's limits before a request, and gives back what it did not use.

    How many requests are under way here is known here, and only copied into the database: a write
    that fails is made good by the next one.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        # SQLite lets one write at a time, and others look again after sleeping ever longer.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        self._program = secrets.token_hex(8)
        self._here = threading.Lock()
        self._running: dict[str, int] = {}
        self._owed: dict[str, tuple[Key, int]] = {}  # tokens to give back, by key

    def take(self, key: Key, tokens: int) -> dict[str, str]:
        """Count one request that may use up to `tokens`; returns the headers about limits.

        Raises TooMuch, with nothing taken. A request for more tokens than a minute's is let in
        when the bucket is full.
        """
        with (
            self._counted(key) as count,
            self._giving_back(key) as back,
            self._writing() as connection,
        ):
            self._lock(connection, key)
            requests, filled = self._buckets(connection, key, back)
            used = [(b, a) for b, a in ((requests, 1), (filled, tokens)) if b]
            headers = {k: v for bucket, _ in used for k, v in bucket.headers.items()}
            self._check_concurrent(connection, key, headers)
            for bucket, amount in used:
                if wait := bucket.seconds_until(min(amount, bucket.limit)):
                    raise TooMuch(
                        f"This key may use {bucket.limit} {bucket.name} a minute; there is room "
                        f"for this request in {math.ceil(wait)} s.",
                        *(wait, headers),
                    )
            for bucket, amount in used:
                bucket.left -= amount
            self._write(connection, key, requests, filled)
            count()  # before the lock is let go, or two would take the last place
            self._set(connection, key.id, self._at_work(key))
        return {k: v for bucket, _ in used for k, v in bucket.headers.items()}

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
            requests, tokens = self._buckets(connection, key, unused)
            self._write(connection, key, requests, tokens)
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

    @staticmethod
    def _buckets(
        connection: sa.Connection, key: Key, back: int
    ) -> tuple[Bucket | None, Bucket | None]:
        """Of requests and of tokens, `back` of which return into it."""
        row = connection.execute(
            sa.select(allowance).where(allowance.c.key_id == key.id)
        ).one_or_none()

        def bucket(name: str, limit: int | None) -> Bucket | None:
            if limit is None:
                return None
            found = Bucket(name, limit, getattr(row, name) if row else limit)
            found.fill(now_ms() - row.at if row else 0)
            return found

        tokens = bucket("tokens", key.limits.tokens_per_minute)
        if tokens:
            tokens.left = min(tokens.limit, tokens.left + back)
        return bucket("requests", key.limits.requests_per_minute), tokens

    @staticmethod
    def _write(
        connection: sa.Connection, key: Key, requests: Bucket | None, tokens: Bucket | None
    ) -> None:
        values = {
            "requests": requests.left if requests else 0.0,
            "tokens": tokens.left if tokens else 0.0,
            "at": now_ms(),
        }
        mine = allowance.c.key_id == key.id
        if not connection.execute(allowance.update().where(mine).values(values)).rowcount:
            connection.execute(allowance.insert().values(values | {"key_id": key.id}))

    def _check_concurrent(
        self, connection: sa.Connection, key: Key, headers: dict[str, str]
    ) -> None:
        if key.limits.concurrent is None:
            return
        others = (under_way.c.program != self._program) & (
            under_way.c.seen_at > now_ms() - DEAD_AFTER
        )
        total = sa.select(sa.func.coalesce(sa.func.sum(under_way.c.requests), 0))
        elsewhere = connection.scalar(total.where(under_way.c.key_id == key.id, others)) or 0
        if elsewhere + self._at_work(key) >= key.limits.concurrent:
            raise TooMuch(
                f"This key may have {key.limits.concurrent} requests answered at once; "
                "please wait for one of them.",
                *(1.0, headers),
            )

    def _set(self, connection: sa.Connection, key_id: str, running: int) -> None:
        mine = (under_way.c.key_id == key_id) & (under_way.c.program == self._program)
        values = {"requests": running, "seen_at": now_ms()}
        if not connection.execute(under_way.update().where(mine).values(values)).rowcount:
            names = {"key_id": key_id, "program": self._program}
            connection.execute(under_way.insert().values(names | values))
