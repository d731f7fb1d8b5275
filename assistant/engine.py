"""One running vLLM: a supervised child on a Unix socket, or a remote server by URL."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp

from assistant.errors import EngineError, NotReady
from assistant.machine import EnginePlan
from assistant.prompts import TEMPLATE_FILE
from assistant.registry import TEMPLATE, Version

State = Literal["loading", "ready", "failed", "stopped"]
CHILD = "assistant.engine_child"
SILENCE_SECONDS = 120  # longest pause between two pieces of a streamed answer
STEADY_SECONDS = 60  # an engine ready for this long starts over without backoff
LONGEST_BACKOFF = 60
DRAIN_SECONDS = 10
GRACE_SECONDS = 1  # from choosing an engine to asking it
LONGEST_ANSWER_SECONDS = 600
WATCH_SECONDS = 5  # how often a remote engine is looked at
LOG_BYTES = 10_000_000
TOOL_PARSER = "hermes"  # <tool_call>{…}</tool_call>, as our chat template shows it


@dataclass(frozen=True)
class Status:
    """How an engine is doing, since when (monotonic seconds), in words for people."""

    state: State
    detail: str
    since: float


class Engine(ABC):
    """What the gateway needs of an engine: a version, a status, and a way to ask it."""

    def __init__(self, version: Version, url: str) -> None:
        self.version = version
        self.url = url
        self.in_flight = 0
        self.failures = 0  # ends in a row before it was steadily ready
        self.status = Status("loading", "starting", time.monotonic())
        self._session: aiohttp.ClientSession | None = None

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

    @contextlib.asynccontextmanager
    async def post(
        self, path: str, body: dict[str, Any], request_id: str | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request; leaving the block early makes the engine drop it.

        Raises EngineError with the engine's own status and body for anything but 200.
        """
        self.require_ready()
        assert self._session is not None
        headers = {"X-Request-Id": request_id} if request_id else None
        silence = SILENCE_SECONDS if body.get("stream") else LONGEST_ANSWER_SECONDS
        self.in_flight += 1
        try:
            async with self._session.post(
                self.url + path,
                json={**body, "model": self.version.name},
                headers=headers,
                timeout=aiohttp.ClientTimeout(sock_connect=5, sock_read=silence),
            ) as response:
                if response.status != 200:
                    raise await _refusal(response)
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineError(
                f"The engine broke off ({type(error).__name__}); please try again.", 503
            ) from error
        finally:
            self.in_flight -= 1

    async def _answers(self) -> bool:
        assert self._session is not None
        canary = {"model": self.version.name, "prompt": "Hi", "max_tokens": 1}
        try:
            async with self._session.get(self.url + "/health") as health:
                if health.status != 200:
                    return False
            async with self._session.post(self.url + "/v1/completions", json=canary) as token:
                return token.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _set(self, state: State, detail: str) -> None:
        if (state, detail) != (self.status.state, self.status.detail):
            self.status = Status(state, detail, time.monotonic())


class LocalEngine(Engine):
    """A vLLM child of this process, restarted with backoff whenever it ends."""

    def __init__(
        self, version: Version, plan: EnginePlan, logs: Path, context: int | None = None
    ) -> None:
        super().__init__(version, "http://engine")
        self.log = logs / f"{version.name}.log"
        self._plan = plan
        self._context = context
        self._folder = tempfile.TemporaryDirectory(prefix="assistant-")  # made with mode 0700
        self._socket = Path(self._folder.name) / "engine.sock"
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, if one runs."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and alive else None

    async def start(self) -> None:
        """Start the child and watch it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._socket), limit=0),
            timeout=aiohttp.ClientTimeout(sock_read=SILENCE_SECONDS),
        )
        self._supervisor = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Let answers in flight finish for a while, then end the child and remove its socket."""
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await self._end_child()
        await super().stop()
        self._folder.cleanup()

    async def _supervise(self) -> None:
        while True:
            started = time.monotonic()
            self._set("loading", "the engine is loading")
            self._process = await self._spawn()
            if await self._wait_until_ready():
                self._set("ready", f"ready after {time.monotonic() - started:.0f} s")
                ready_at = time.monotonic()
                await self._process.wait()
                steady = time.monotonic() - ready_at > STEADY_SECONDS
                self.failures = 0 if steady else self.failures
            await self._end_child()  # the child's own children may still run
            backoff = min(LONGEST_BACKOFF, 2**self.failures)
            self.failures += 1
            self._set("failed", f"{self._last_words()}; it starts again in {backoff} s")
            await asyncio.sleep(backoff)

    async def _wait_until_ready(self) -> bool:
        assert self._process is not None
        while self._process.returncode is None:
            if await self._answers():
                return True
            await asyncio.sleep(0.3)
        return False

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._socket.unlink(missing_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSISTANT_")}
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\n--- engine of {self.version.name}: {self._plan.summary}\n")
            log.flush()
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", CHILD, str(os.getpid())),
                *self._flags(),
                env=inherited | self._plan.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _flags(self) -> list[str]:
        flags = ["--model", str(self.version.path), "--served-model-name", self.version.name]
        flags += ["--uds", str(self._socket), "--generation-config", "vllm"]
        flags += ["--enable-request-id-headers", "--disable-fastapi-docs"]
        flags += ["--enable-auto-tool-choice", "--tool-call-parser", TOOL_PARSER]
        flags += ["--tool-strict-level", "parameter"]  # arguments keep to their schema
        flags += ["--disable-uvicorn-access-log", "--shutdown-timeout", str(DRAIN_SECONDS)]
        if self._context:
            flags += ["--max-model-len", str(self._context)]
        if TEMPLATE not in self.version.files:
            flags += ["--chat-template", str(TEMPLATE_FILE)]
        return flags + list(self._plan.flags)

    async def _end_child(self) -> None:
        if self._process is None:
            return
        group = self._process.pid  # the child leads a session of its own
        if self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), DRAIN_SECONDS + 5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        await self._process.wait()

    def _last_words(self) -> str:
        assert self._process is not None
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
        telling = [line for line in lines if "Error" in line and "Traceback" not in line]
        reason = f": {telling[-1].split('] ')[-1].strip()[:200]}" if telling else ""
        return f"the engine ended with code {self._process.returncode}{reason} (log: {self.log})"


class RemoteEngine(Engine):
    """An OpenAI-compatible server elsewhere; it is only watched, never started or stopped."""

    async def start(self) -> None:
        """Watch the server, keeping the status true."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(sock_connect=5, sock_read=SILENCE_SECONDS)
        )
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching."""
        self._watcher.cancel()
        await asyncio.gather(self._watcher, return_exceptions=True)
        await super().stop()

    async def _watch(self) -> None:
        while True:
            if await self._answers():
                self._set("ready", "ready")
            else:
                self._set("failed", f"{self.url} does not answer")
            await asyncio.sleep(WATCH_SECONDS)


async def _refusal(response: aiohttp.ClientResponse) -> EngineError:
    raw = await response.read()
    try:
        body = json.loads(raw)
        message = body["error"]["message"]
    except (ValueError, KeyError, TypeError):
        body, message = {}, f"The engine answered with status {response.status}."
    return EngineError(message, response.status, body)
