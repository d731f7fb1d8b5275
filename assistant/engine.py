"""One running vLLM, as the gateway sees it: a version, a status, and a way to ask it."""

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import aiohttp

from assistant.access.callers import Caller
from assistant.access.turnstile import Turnstile
from assistant.errors import EngineError, NotReady, Unreached
from assistant.tracing import handed_on
from assistant.version import Version

State = Literal["loading", "ready", "failed", "stopped"]
PLACES = 64  # answers at once; more would share the cores without more tokens a second
WAITING = 256
PATIENCE_SECONDS = 30  # in the queue
SILENCE_SECONDS = 120  # longest pause between two pieces of a streamed answer
LOOKS = 4  # at what came, within those
LONGEST_ANSWER_SECONDS = 600
CANARY_SECONDS = 30  # for one token of an idle engine
ELSEWHERE = (502, 503, 504)  # statuses after which another engine may be asked
METRICS_SECONDS = 5
GRACE_SECONDS = 1  # from choosing an engine to asking it
START_SECONDS = 600  # for a new engine to produce its first token
FAILURES = 2  # engine ends before the first token, after which its version counts as broken


@dataclass(frozen=True)
class Status:
    """How an engine is doing, since when (monotonic seconds), in words for people."""

    state: State
    detail: str
    since: float


class Engine(ABC):
    """What the gateway needs of an engine."""

    healthy: tuple[int, ...] = (200,)  # what `/health` may say

    def __init__(self, version: Version, url: str) -> None:
        self.version = version
        self.url = url
        self.in_flight = 0
        self.failures = 0  # ends in a row before it was steadily ready
        self.status = Status("loading", "starting", time.monotonic())
        self.turnstile = Turnstile(PLACES, WAITING, PATIENCE_SECONDS)
        self.calls_tools = True  # whether its model is shown the tools of a request
        self._failed = 0  # requests in a row that it did not begin to answer, or broke off
        self._session: aiohttp.ClientSession | None = None
        self._answers: set[aiohttp.ClientResponse] = set()  # that have begun and not ended
        self._heard = 0

    @property
    def heard(self) -> int:
        """How many bytes of answers came so far, and one for each answer that began."""
        return self._heard + sum(answer.content.total_bytes for answer in self._answers)

    @property
    def served_as(self) -> str:
        """What the engine itself calls the version."""
        return self.version.name

    @abstractmethod
    async def start(self) -> None:
        """Begin serving in the background; returns at once."""

    async def stop(self) -> None:
        """Stop serving and free everything."""
        if self._session:
            await self._session.close()
        self._set("stopped", "stopped")

    async def drained(self) -> None:
        """Wait for the answers in flight, and for those about to begin; not forever."""
        give_up = time.monotonic() + LONGEST_ANSWER_SECONDS
        await asyncio.sleep(GRACE_SECONDS)
        while self.in_flight and time.monotonic() < give_up:
            await asyncio.sleep(0.1)

    def require_ready(self) -> None:
        """Raise NotReady unless a token can be produced now."""
        if self.status.state != "ready":
            raise NotReady(f"The model {self.version.name!r} is not ready: {self.status.detail}.")

    def require_hope(self) -> None:
        """Raise EngineError where it ends again and again before it is ready, or hangs."""
        if self.failures >= FAILURES:
            raise EngineError(self.status.detail)
        loading = self.status.state == "loading"
        if loading and time.monotonic() - self.status.since > START_SECONDS:
            raise EngineError(f"no token after {START_SECONDS} s")

    async def until_ready(self) -> None:
        """Wait until it can produce a token. Raises EngineError where that is hopeless."""
        while self.status.state != "ready":
            self.require_hope()
            await asyncio.sleep(0.2)

    @contextlib.asynccontextmanager
    async def post(
        self,
        path: str,
        body: dict[str, Any],
        caller: Caller | None,
        request_id: str | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request once it is the caller's turn; leaving the block early drops it.

        Without a caller it is this program itself that asks, and does not queue. Raises Busy, or
        EngineError with the engine's own status and body for anything but 200.
        """
        self.require_ready()
        self._count(1)
        try:
            if caller is None:
                async with self._asked(path, body, request_id) as response:
                    yield response
                return
            async with self.turnstile.turn(caller.party):
                self.require_ready()
                salted = {**body, "cache_salt": caller.salt}
                async with self._asked(path, salted, request_id) as response:
                    yield response
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        """Note that so many more requests wait for an answer, or are given one."""
        self.in_flight += more

    @contextlib.asynccontextmanager
    async def _asked(
        self, path: str, body: dict[str, Any], request_id: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        begun = False
        try:
            async with await self._begun(path, body, request_id) as response:
                if response.status != 200:
                    raise await _refusal(response)
                begun = True
                self._went(True)
                silence = SILENCE_SECONDS if body.get("stream") else None
                with self._hearing(response), ended_if_silent(response, silence):
                    yield response
        except Unreached:
            self._went(False)
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            self._went(False)
            kind = EngineError if begun else Unreached
            raise kind(
                f"The engine broke off ({type(error).__name__}); please try again.", 503
            ) from error

    @contextlib.contextmanager
    def _hearing(self, response: aiohttp.ClientResponse) -> Iterator[None]:
        self._heard += 1
        self._answers.add(response)
        try:
            yield
        finally:
            self._answers.remove(response)
            self._heard += response.content.total_bytes

    def _headers(self, body: dict[str, Any], request_id: str | None) -> dict[str, str]:
        return handed_on() | ({"X-Request-Id": request_id} if request_id else {})

    async def _begun(
        self, path: str, body: dict[str, Any], request_id: str | None
    ) -> aiohttp.ClientResponse:
        """Ask; once more where a connection that was kept open is dropped, as idle ones are."""
        assert self._session is not None
        ask = partial(
            self._session.post,
            self.url + path,
            json={**body, "model": self.served_as},
            headers=self._headers(body, request_id),
            timeout=aiohttp.ClientTimeout(total=LONGEST_ANSWER_SECONDS, sock_connect=5),
        )
        async with asyncio.timeout(SILENCE_SECONDS if body.get("stream") else None):
            try:
                return await ask()
            except aiohttp.ClientConnectorError:
                raise  # nobody is there
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                return await ask()

    def _went(self, well: bool) -> None:
        """Hear how asking went."""
        self._failed = 0 if well else self._failed + 1

    async def answers(self) -> bool:
        """Whether it can produce a token, which is tried."""
        try:
            return await self._token()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _token(self) -> bool:
        """As `answers`; raises what the connection does."""
        assert self._session is not None
        canary = {"model": self.served_as, "prompt": "Hi", "max_tokens": 1}
        patience = aiohttp.ClientTimeout(total=CANARY_SECONDS)
        async with self._session.get(self.url + "/health", timeout=patience) as health:
            if health.status not in self.healthy:
                return False
        async with self._session.post(
            self.url + "/v1/completions", json=canary, timeout=patience
        ) as token:
            return token.status == 200

    async def metrics(self) -> str:
        """What it counts, in Prometheus' text format. Raises what the connection does."""
        assert self._session is not None
        patience = aiohttp.ClientTimeout(total=METRICS_SECONDS)
        async with self._session.get(self.url + "/metrics", timeout=patience) as response:
            response.raise_for_status()
            return await response.text()

    def _set(self, state: State, detail: str) -> None:
        if (state, detail) != (self.status.state, self.status.detail):
            self.status = Status(state, detail, time.monotonic())


@contextlib.contextmanager
def ended_if_silent(response: aiohttp.ClientResponse, seconds: float | None) -> Iterator[None]:
    """A block in which the response is closed when for so long nothing came; never for None.

    Looked at a few times, since aiohttp's own timeout is set anew with every piece.
    """
    if seconds is None:
        yield
        return
    loop, quiet = asyncio.get_running_loop(), seconds / LOOKS
    seen = [-1] * LOOKS  # bytes that had come at each of the last looks

    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal timer
        seen.append(response.content.total_bytes)
        if seen.pop(0) == seen[-1]:
            response.close()
        timer = loop.call_later(quiet, look)

    timer = loop.call_later(0, look)
    try:
        yield
    finally:
        timer.cancel()


async def _refusal(response: aiohttp.ClientResponse) -> EngineError:
    raw = await response.read()
    try:
        body = json.loads(raw)
        message = body["error"]["message"]
    except (ValueError, KeyError, TypeError):
        body, message = {}, f"The engine answered with status {response.status}."
    kind = Unreached if response.status in ELSEWHERE else EngineError
    return kind(message, response.status, body)
