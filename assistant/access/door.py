"""The one way in: says who is asking, holds them to their limits, and notes what they used."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from assistant.access.accounts import Accounts
from assistant.access.callers import LOCAL_OWNER, PAGE, Caller
from assistant.access.keys import Key
from assistant.access.ledger import Used
from assistant.access.limits import HEARTBEAT_SECONDS
from assistant.errors import StoreError, Unknown

REMEMBERED_SECONDS = 3  # so long a revoked key may still be let in
MOST_REMEMBERED = 10_000
WRITE_SECONDS = 1
SETTLE_SECONDS = 0.2
Answer = TypeVar("Answer")
HOW = "send one as 'Authorization: Bearer sk-assistant-…'"


class Door:
    """Lets programs in by their keys, and browsers by their cookies.

    `free` says that programs need no key as long as none was made: on loopback only.
    """

    def __init__(self, accounts: Accounts, secret: bytes, *, free: bool) -> None:
        self._accounts = accounts
        self._secret = secret
        self.free = free
        self._known: dict[str, tuple[float, asyncio.Future[Any]]] = {}
        self._chores: asyncio.Task[None] | None = None
        self._settling: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin the work in the background."""
        self._chores = asyncio.create_task(self._do_chores())

    async def stop(self) -> None:
        """End it, and write down what was used."""
        if self._settling:
            self._settling.cancel()
        if self._chores:
            self._chores.cancel()
            await asyncio.gather(self._chores, return_exceptions=True)
        try:
            await asyncio.to_thread(self._accounts.meter.settle)
            await asyncio.to_thread(self._accounts.ledger.write)
        except StoreError as error:
            logging.getLogger(__name__).error("The last second of usage is lost: %s", error)
        self._accounts.close()

    async def program(self, secret: str | None) -> Caller:
        """Who a program is by the key it sent. Raises Unknown."""
        if secret:
            key = await self._remembered(hashlib.sha256(secret.encode()).hexdigest(), secret)
            if key and key.state == "usable":
                return self._caller(f"key_{key.id}", key.id, key)
        if self.free and not await self._keys_exist():
            return self._caller(LOCAL_OWNER, LOCAL_OWNER)
        if not secret:
            raise Unknown(f"This server wants an API key: {HOW}.")
        known = f"This key is {key.state}" if key else "There is no such API key"
        raise Unknown(f"{known}; the operator makes a new one with: assistant keys create NAME.")

    async def holder(self, key_id: str) -> Key | None:
        """The key with that id, as long as it may be used to chat."""
        key = await self._lately(f"id {key_id}", lambda: self._accounts.keys.get(key_id))
        return key if key and key.state == "usable" and key.allows("chat") else None

    def browser(self, owner: str, key: Key | None = None) -> Caller:
        """Who a browser is, by the pseudonym of its cookie and the key it signed in with."""
        return self._caller(owner, key.id if key else PAGE, key)

    @asynccontextmanager
    async def visit(self, caller: Caller, version: str, tokens: int) -> AsyncIterator[Used]:
        """Around one request to a version: up to `tokens` may be used, `Used` says how many were.

        Raises TooMuch where the key's limits do not allow it now.
        """
        async with self.errand(caller, tokens) as used:
            try:
                yield used
            finally:
                self._accounts.ledger.add(caller.who, version, used)

    @asynccontextmanager
    async def errand(self, caller: Caller, tokens: int = 0) -> AsyncIterator[Used]:
        """Around one request that asks no version, and yet is one of those of the key's limits.

        Raises TooMuch.
        """
        used = Used()
        limited = caller.key if caller.key and caller.key.limits else None
        if limited:
            used.headers = await self._take(limited, tokens)
        try:
            yield used
        finally:
            if limited:
                self._leave(limited, tokens - used.tokens)

    async def _take(self, key: Key, tokens: int) -> dict[str, str]:
        """Take from the limits; what is taken for somebody who has left meanwhile goes back."""
        meter = self._accounts.meter
        if meter.knows(key):
            return meter.take(key, tokens)
        taking = asyncio.ensure_future(asyncio.to_thread(meter.take, key, tokens))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(
                lambda taken: None if _failed(taken) else self._leave(key, tokens)
            )
            raise

    def _leave(self, key: Key, unused: int) -> None:
        """Not awaited: a request that was given up must be settled, too.

        The database hears a moment later, of all that ended meanwhile.
        """
        meter = self._accounts.meter
        meter.leave(key, unused)
        if not meter.waits:
            return
        if not self._settling or self._settling.when() < asyncio.get_running_loop().time():
            self._settling = asyncio.get_running_loop().call_later(
                SETTLE_SECONDS, _in_background, meter.settle
            )

    def _caller(self, owner: str, who: str, key: Key | None = None) -> Caller:
        salt = hmac.new(self._secret, f"cache {owner}".encode(), hashlib.sha256).hexdigest()[:32]
        return Caller(owner, who, salt, key)

    async def _remembered(self, digest: str, secret: str) -> Key | None:
        return await self._lately(digest, lambda: self._accounts.keys.of(secret))

    async def _keys_exist(self) -> bool:
        return await self._lately("", self._accounts.keys.exist)

    async def _lately(self, name: str, ask: Callable[[], Answer]) -> Answer:
        """An answer of the database that is a few seconds old at most; asked once for everybody."""
        now = time.monotonic()
        until, asking = self._known.get(name, (0.0, None))
        if asking is None or until < now or (asking.done() and _failed(asking)):
            if len(self._known) > MOST_REMEMBERED:
                self._known.clear()
            asking = asyncio.ensure_future(asyncio.to_thread(ask))
            self._known[name] = now + REMEMBERED_SECONDS, asking
        return await asyncio.shield(asking)

    async def _do_chores(self) -> None:
        beaten = 0.0
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            try:
                await asyncio.to_thread(self._accounts.ledger.write)
                await asyncio.to_thread(self._accounts.meter.settle)
                if time.monotonic() - beaten > HEARTBEAT_SECONDS:
                    await asyncio.to_thread(self._accounts.meter.beat)
                    beaten = time.monotonic()
            except Exception as error:  # noqa: BLE001 - this loop must outlive whatever it meets
                logging.getLogger(__name__).warning("Usage is not written now: %s", error)


def _failed(done: "asyncio.Future[Any]") -> bool:
    return done.cancelled() or done.exception() is not None


def _in_background(work: Callable[[], None]) -> None:
    """Run blocking work in a thread; a failure is logged."""

    def done(future: "asyncio.Future[None]") -> None:
        if _failed(future) and not future.cancelled():
            logging.getLogger(__name__).warning(
                "Limits are not settled now: %s", future.exception()
            )

    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, work).add_done_callback(done)
