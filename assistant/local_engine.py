"""A vLLM child of this process on a Unix socket: started, watched, healed, ended."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from assistant import tracing
from assistant.engine import Engine
from assistant.machine import EnginePlan
from assistant.prompts import TEMPLATE_FILE
from assistant.pulse import LOOK_SECONDS, Pulse
from assistant.registry import TEMPLATE, Version

CHILD = "assistant.engine_child"
STEADY_SECONDS = 60  # an engine ready for this long starts over without backoff
LONGEST_BACKOFF = 60
DRAIN_SECONDS = 10
TRACES_BY_HTTP = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}  # as ours go
LOG_BYTES = 10_000_000
TOOL_PARSER = "hermes"  # <tool_call>{…}</tool_call>, as our chat template shows it


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
            connector=aiohttp.UnixConnector(path=str(self._socket), limit=0)
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
            try:
                why = await self._live()
            except OSError as error:  # a full disk, say: nothing to log to, or no process to be had
                why = f"the engine cannot be started ({error.strerror})"
            backoff = min(LONGEST_BACKOFF, 2**self.failures)
            self.failures += 1
            self._set("failed", f"{why}; it starts again in {backoff} s")
            await asyncio.sleep(backoff)

    async def _live(self) -> str:
        """One life of a child, from its start to the reason of its end."""
        started = time.monotonic()
        self._set("loading", "the engine is loading")
        self._process = await self._spawn()
        hung = None
        if await self._wait_until_ready():
            self._set("ready", f"ready after {time.monotonic() - started:.0f} s")
            ready_at = time.monotonic()
            hung = await self._until_it_ends_or_hangs()
            steady = time.monotonic() - ready_at > STEADY_SECONDS
            self.failures = 0 if steady else self.failures
        if hung:
            self._set("failed", f"{hung}; it is ended and starts again")
            self._kill()
        await self._end_child()  # the child's own children may still run
        return hung or self._last_words()

    async def _wait_until_ready(self) -> bool:
        assert self._process is not None
        while self._process.returncode is None:
            if await self.answers():
                return True
            await asyncio.sleep(0.3)
        return False

    async def _until_it_ends_or_hangs(self) -> str | None:
        """Why it hangs; None where it ended by itself."""
        assert self._process is not None
        pulse = Pulse(self, self._process.pid)
        ended = asyncio.ensure_future(self._process.wait())
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=LOOK_SECONDS)
                if not ended.done() and (hung := await pulse.lost()):
                    return hung
            return None
        finally:
            ended.cancel()

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
                env=inherited | self._plan.environment | TRACES_BY_HTTP,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _flags(self) -> list[str]:
        flags = ["--model", str(self.version.served), "--served-model-name", self.version.name]
        flags += ["--uds", str(self._socket), "--generation-config", "vllm"]
        flags += ["--enable-request-id-headers", "--disable-fastapi-docs"]
        flags += ["--enable-auto-tool-choice", "--tool-call-parser", TOOL_PARSER]
        flags += ["--tool-strict-level", "parameter"]  # arguments keep to their schema
        flags += ["--disable-uvicorn-access-log", "--shutdown-timeout", str(DRAIN_SECONDS)]
        if traces := tracing.endpoint():
            flags += ["--otlp-traces-endpoint", traces]
        if self._context:
            flags += ["--max-model-len", str(self._context)]
        if TEMPLATE not in self.version.files:
            flags += ["--chat-template", str(TEMPLATE_FILE)]
        return flags + list(self._plan.flags)

    async def _end_child(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), DRAIN_SECONDS + 5)
        self._kill()
        await self._process.wait()

    def _kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the child leads a session of its own

    def _last_words(self) -> str:
        assert self._process is not None
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
        telling = [line for line in lines if "Error" in line and "Traceback" not in line]
        reason = f": {telling[-1].split('] ')[-1].strip()[:200]}" if telling else ""
        return f"the engine ended with code {self._process.returncode}{reason} (log: {self.log})"
