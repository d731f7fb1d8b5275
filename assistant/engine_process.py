"""The process of an engine: it imports vLLM at once, and is told later which engine to be."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from assistant.errors import EngineError
from assistant.machine import EnginePlan, Machine, plan_engine
from assistant.settings import Settings

CHILD = "assistant.engine_child"
TRACES_BY_HTTP = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}  # as ours go
LOG_BYTES = 10_000_000
LOOK_SECONDS = 0.1


class EngineProcess:
    """A child of this process, and all that it starts.

    Importing vLLM takes most of a start, and needs to know nothing about what is to be served.
    Raises OSError where it cannot be started.
    """

    def __init__(self, plan: EnginePlan, log: Path) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSISTANT_")}
        with appended(log) as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", CHILD, str(os.getpid())],
                env=inherited | plan.environment | TRACES_BY_HTTP,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is the id of its process group, too."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def become(self, flags: Sequence[str], log: Path, heading: str) -> None:
        """Tell it vLLM's flags and where to log; to be done once. Raises OSError if it ended."""
        with appended(log) as output:
            output.write(f"\n--- {heading}\n".encode())
        assert self._process.stdin is not None
        with self._process.stdin as orders:
            orders.write(json.dumps({"log": str(log), "flags": list(flags)}).encode() + b"\n")

    async def ended(self) -> int:
        """Wait for its end."""
        while (code := self.returncode) is None:
            await asyncio.sleep(LOOK_SECONDS)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and all that it started, which may outlive it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # it leads a session of its own
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


def appended(log: Path) -> BinaryIO:
    """The log, opened for more; the one before is kept once it is long."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log.open("ab")


def engines_folder(settings: Settings) -> Path:
    """Where engines log and cache."""
    return settings.home.resolve() / "engine"


def planned(settings: Settings) -> EnginePlan:
    """How engines run on this machine; raises EngineError where they cannot."""
    cache = engines_folder(settings) / "cache"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    return plan_engine(Machine.this(), settings.compile, cache)


def spare_process(settings: Settings) -> EngineProcess | None:
    """Begin a first engine's start before it is known what it will serve.

    None where no engine of ours is wanted, or none can be started: the fleet finds out why, and
    says so.
    """
    if settings.engine_url:
        return None
    with contextlib.suppress(EngineError, OSError):
        return EngineProcess(planned(settings), engines_folder(settings) / "starting.log")
    return None
