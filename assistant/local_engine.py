"""A vLLM child of this process on a Unix socket: started, watched, healed, ended."""

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from assistant import tracing
from assistant.dialect import dialect_of
from assistant.engine import Engine
from assistant.engine_process import EngineProcess
from assistant.errors import ModelError
from assistant.machine import EnginePlan
from assistant.pulse import LOOK_SECONDS, Pulse
from assistant.version import Version

STEADY_SECONDS = 60  # an engine ready for this long starts over without backoff
LONGEST_BACKOFF = 60
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # itself, or the process that it forked
DRAIN_SECONDS = 10


class LocalEngine(Engine):
    """A vLLM child of this process, restarted with backoff whenever it ends."""

    def __init__(
        self,
        version: Version,
        plan: EnginePlan,
        logs: Path,
        context: int | None = None,
        spare: EngineProcess | None = None,
        check: Callable[[], None] | None = None,
        *,
        checked: bool = False,
    ) -> None:
        """`check` raises ModelError where weights are damaged; `checked`: it was just called."""
        super().__init__(version, "http://engine")
        self.log = logs / f"{version.name}.log"
        self._plan = plan
        self._dialect = dialect_of(version.path)
        self.calls_tools = self._dialect.tools is not None
        self._context = context
        self._spare = spare  # a process that waits for something to do, for the first start
        self._check = check
        self._checked = checked
        self._folder = tempfile.TemporaryDirectory(prefix="assistant-")  # made with mode 0700
        self._socket = Path(self._folder.name) / "engine.sock"
        self._process: EngineProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, if one runs."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and alive else None

    def session(self) -> aiohttp.ClientSession:
        """A new way to the child's socket."""
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._socket), limit=0)
        )

    async def start(self) -> None:
        """Start the child and watch it."""
        self._session = self.session()
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
            except ModelError as error:
                why = str(error).removesuffix(".")
            except OSError as error:  # a full disk, say: nothing to log to, or no process to be had
                await self._end_child()
                why = f"the engine cannot be started ({error.strerror})"
            backoff = min(LONGEST_BACKOFF, 2**self.failures)
            self.failures += 1
            self._set("failed", f"{why}; it starts again in {backoff} s")
            await asyncio.sleep(backoff)

    async def _live(self) -> str:
        """One life of a child, from its start to the reason of its end."""
        await self._check_weights()
        started = time.monotonic()
        self._set("loading", "the engine is loading")
        self._process = self._waiting_process()
        self._socket.unlink(missing_ok=True)
        heading = f"engine of {self.version.name}: {self._plan.summary}"
        self._process.become(self._flags(), self.log, heading)
        hung = None
        if await self._wait_until_ready():
            self._set("ready", f"ready after {time.monotonic() - started:.0f} s")
            ready_at = time.monotonic()
            hung = await self._until_it_ends_or_hangs()
            steady = time.monotonic() - ready_at > STEADY_SECONDS
            self.failures = 0 if steady else self.failures
        if hung:
            self._set("failed", f"{hung}; it is ended and starts again")
            self._process.kill()
        await self._end_child()  # the child's own children may still run
        return hung or self._last_words()

    async def _check_weights(self) -> None:
        checked, self._checked = self._checked, False
        if self._check and not checked:
            self._set("loading", "its weights are checked")
            await asyncio.to_thread(self._check)

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
        ended = asyncio.ensure_future(self._process.ended())
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=LOOK_SECONDS)
                if not ended.done() and (hung := await pulse.lost()):
                    return hung
            return None
        finally:
            ended.cancel()

    def _waiting_process(self) -> EngineProcess:
        spare, self._spare = self._spare, None
        if spare is not None and spare.returncode is None:
            return spare
        return EngineProcess(self._plan, self.log)

    def _flags(self) -> list[str]:
        flags = ["--model", str(self.version.served), "--served-model-name", self.version.name]
        flags += ["--uds", str(self._socket), "--generation-config", "vllm"]
        flags += ["--enable-request-id-headers", "--disable-fastapi-docs"]
        flags += ["--disable-uvicorn-access-log", "--shutdown-timeout", str(DRAIN_SECONDS)]
        if traces := tracing.endpoint():
            flags += ["--otlp-traces-endpoint", traces]
        if self._context:
            flags += ["--max-model-len", str(self._context)]
        return [*flags, *self._dialect.flags(), *self._plan.flags]

    async def _end_child(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.ended(), DRAIN_SECONDS + 5)
        self._process.kill()
        await self._process.ended()

    def _last_words(self) -> str:
        assert self._process is not None
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
        telling = [line for line in lines if "Error" in line and "Traceback" not in line]
        reason = f": {telling[-1].split('] ')[-1].strip()[:200]}" if telling else ""
        code = self._process.returncode
        if code in KILLED:
            reason = ": it was killed from outside, as Linux does where memory runs out"
        log = self.log.relative_to(self.log.parents[1])  # strangers read this, too
        return f"the engine ended with code {code}{reason} (log: {log})"
