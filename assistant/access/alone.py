"""What each key may still use, counted in memory by the only program over its database."""

import threading
from dataclasses import dataclass

import sqlalchemy as sa

from assistant.access.buckets import Allowance, Headers, require_place
from assistant.access.keys import Key, Limits
from assistant.access.limits import find_allowance, write_allowance
from assistant.feedback.records import now_ms


@dataclass
class Account:
    """One key: what it may still use, how many requests run, whether the database knows."""

    limits: Limits
    allowance: Allowance
    running: int = 0
    written: bool = True


class LoneMeter:
    """Does what `Meter` does, at once: the database is only read first, and told every second.

    A program that is killed forgets that second; what it had under way is forgotten with it.
    """

    waits = False

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._read = engine.execution_options(isolation_level="AUTOCOMMIT")  # waits for no write
        self._settling = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self._here = threading.Lock()

    def knows(self, key: Key) -> bool:
        """Whether `take` needs no database for it."""
        known = self._accounts.get(key.id)
        return known is not None and known.limits == key.limits

    def take(self, key: Key, tokens: int) -> Headers:
        """Count one request that may use up to `tokens`; returns the headers about limits.

        Raises TooMuch, with nothing taken.
        """
        if not self.knows(key):
            self._learn(key)
        with self._here:
            account = self._accounts[key.id]
            allowance = account.allowance
            allowance.wait_until(now_ms())
            require_place(account.running, key.limits.concurrent, allowance.headers)
            allowance.take(tokens)
            account.running += 1
            account.written = False
            return allowance.headers

    def leave(self, key: Key, unused: int) -> None:
        """A request is over, and did not use so many tokens."""
        with self._here:
            account = self._accounts[key.id]
            account.running -= 1
            account.allowance.wait_until(now_ms())
            account.allowance.give_back(unused)
            account.written = False

    def settle(self) -> None:
        """Tell the database; what it is not told now, it is next time."""
        with self._settling:
            self._settle()

    def _settle(self) -> None:
        with self._here:
            new = [name for name, account in self._accounts.items() if not account.written]
            told = {name: self._accounts[name].allowance for name in new}
            values = {name: (*allowance.left, allowance.at) for name, allowance in told.items()}
            for name in new:
                self._accounts[name].written = True
        if not values:
            return
        try:
            with self._engine.begin() as connection:
                for name, (requests, tokens, at) in values.items():
                    write_allowance(connection, name, requests, tokens, at)
        except Exception:
            with self._here:
                for name in new:
                    self._accounts[name].written = False
            raise

    def beat(self) -> None:
        """Nobody else asks whether this program lives."""

    def _learn(self, key: Key) -> None:
        with self._here:
            known = self._accounts.get(key.id)
            if known:  # its limits have changed
                requests, tokens = known.allowance.left
                fresh = Allowance.of(key.limits, known.allowance.at, requests, tokens)
                self._accounts[key.id] = Account(key.limits, fresh, known.running, known.written)
                return
        with self._read.connect() as connection:
            found = find_allowance(connection, key)
        with self._here:
            self._accounts.setdefault(key.id, Account(key.limits, found))
