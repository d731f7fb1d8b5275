"""Whether an engine that runs still works: no token for long, or no work at all, is a hang."""

import re
import time

import aiohttp
import psutil

from assistant.engine import Engine

LOOK_SECONDS = 5
IDLE_LOOK_SECONDS = 30
STILL_SECONDS = 30  # without a token and without using the processor, or not to be reached
SILENT_SECONDS = 300  # without a token, however busy it looks
WORKING = 0.02  # of one core
TOKENS = re.compile(r"^vllm:(?:generation|prompt)_tokens_total\{.*\} (\S+)$", re.MULTILINE)


class Pulse:
    """Looks at a child every few seconds: at what it counted, and at the time it computed."""

    def __init__(self, engine: Engine, pid: int) -> None:
        self._engine = engine
        self._pid = pid
        self._tokens = self._computed = 0.0
        self._tried_at = time.monotonic()
        self._rest()

    async def lost(self) -> str | None:
        """What is wrong, if it hangs."""
        if not self._engine.in_flight:
            self._rest()
            return await self._try()
        await self._look()
        now = time.monotonic()
        silent, still, away = (
            now - at for at in (self._token_at, self._worked_at, self._reached_at)
        )
        if away > STILL_SECONDS:
            return f"it hung: not to be reached for {away:.0f} s"
        if min(silent, still) > STILL_SECONDS or silent > SILENT_SECONDS:
            return f"it hung: no token for {silent:.0f} s"
        return None

    def _rest(self) -> None:
        self._token_at = self._worked_at = self._reached_at = time.monotonic()

    async def _try(self) -> str | None:
        if time.monotonic() - self._tried_at < IDLE_LOOK_SECONDS:
            return None
        answers = await self._engine.answers()
        self._tried_at = time.monotonic()
        return None if answers or self._engine.in_flight else "it hung: it did not answer a test"

    async def _look(self) -> None:
        try:
            tokens = sum(map(float, TOKENS.findall(await self._engine.metrics())))
        except (aiohttp.ClientError, TimeoutError, OSError):
            tokens = self._tokens
        else:
            self._reached_at = time.monotonic()
        now, computed = time.monotonic(), self._computing()
        if tokens != self._tokens:
            self._tokens, self._token_at = tokens, now
        if computed - self._computed > (now - self._worked_at) * WORKING:
            self._computed, self._worked_at = computed, now

    def _computing(self) -> float:
        """Seconds of processor time of the child and its children."""
        total = 0.0
        try:
            child = psutil.Process(self._pid)
            for process in (child, *child.children(recursive=True)):
                times = process.cpu_times()
                total += times.user + times.system
        except psutil.Error:
            return self._computed
        return total
