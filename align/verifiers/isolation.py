"""Code that others wrote, a model or a user, run in a process of its own with limits.

The process sees no environment but PATH, an empty folder, and as much time, memory, files and
processes as it is given. It is no sandbox against an attacker: it can read what its user can read,
and reach the network where the machine lets it.
"""

import contextlib
import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MIB = 2**20
NOTHING = "nothing came back"
LOOK_SECONDS = 0.05
MOST_KILLED = 3  # processes of a function, after which it is not called any more


@dataclass(frozen=True)
class Limits:
    """What a process may take."""

    seconds: float = 10.0
    """To its end, or, of a function that is called often, for one call."""
    memory: int = 1024 * MIB
    """Of address space, in bytes."""
    written: int = 16 * MIB
    """Of one file, in bytes."""
    processes: int = 0
    """More than there are already; the user's own count, too, so 0 means: none may be started."""


@dataclass(frozen=True)
class Ended:
    """How it came to an end: what it printed, or why it failed."""

    out: str
    failed: str = ""


def run(script: str, given: str, limits: Limits = Limits(), *, each: bool = False) -> Ended:
    """Run a Python script with `given` on its standard input.

    With `each` it has its seconds for every line that it prints. What it printed before it was
    ended counts.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as told,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as said,
    ):
        told.write(given.encode())
        told.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", script], cwd=folder,
            env={"PATH": "/usr/bin:/bin"}, stdin=told, stdout=out, stderr=said,
            preexec_fn=_limited(limits, each), start_new_session=True,
        )  # fmt: skip
        in_time = _watched(process, out, limits.seconds, each)
        printed, complaint = (_read(file) for file in (out, said))
    if not in_time:
        return Ended(printed, f"it took longer than {limits.seconds:g} s")
    if process.returncode:
        last = complaint.strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
        return Ended(printed, last[0][:300])
    return Ended(printed)


def _watched(process: subprocess.Popen[bytes], out: IO[bytes], seconds: float, each: bool) -> bool:
    """Wait for its end; False where it took too long, and was ended with what it started."""
    printed, ends = 0, time.monotonic() + seconds
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_SECONDS)
            return True
        if each and (size := os.fstat(out.fileno()).st_size) > printed:
            printed, ends = size, time.monotonic() + seconds
        if time.monotonic() > ends:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _limited(limits: Limits, each: bool) -> Callable[[], None]:
    def limit() -> None:
        cpu = max(1, round(limits.seconds))
        if not each:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.written, limits.written))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not limits.processes:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))

    return limit


FUNCTION = """
import importlib.util, json, sys
file, name = json.loads(sys.stdin.readline())
out, sys.stdout = sys.stdout, sys.stderr  # what the function prints is no result
spec = importlib.util.spec_from_file_location("given", file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
function = getattr(module, name)
print(json.dumps("ready"), file=out, flush=True)
for line in sys.stdin:
    try:
        said = json.dumps([function(*json.loads(line)), ""])
    except Exception as error:
        said = json.dumps([None, f"{type(error).__name__}: {error}"[:300]])
    print(said, file=out, flush=True)
"""
TESTS = """
import json, sys
code, tests, mark = json.load(sys.stdin)
out, sys.stdout = sys.stdout, sys.stderr
space = {"__name__": "answer"}
exec(compile(code, "answer", "exec"), space)
exec(compile(tests, "tests", "exec"), space)
print(mark, file=out)
"""


def call(
    file: Path,
    name: str,
    calls: Sequence[Sequence[Any]],
    limits: Limits = Limits(),
) -> tuple[list[Any], str]:
    """What a function in a file returns for each list of arguments, and why one first failed.

    A call that raises, ends the process, or takes too long is None, and the others are made all the
    same, unless several processes were lost.
    """
    found: list[Any] = []
    why = ""
    for _ in range(MOST_KILLED):
        lines = [json.dumps([str(file.resolve()), name]), *map(json.dumps, calls[len(found) :])]
        ended = run(FUNCTION, "\n".join(lines) + "\n", limits, each=True)
        ready, *told = [json.loads(line) for line in _whole_lines(ended.out)] or [None]
        found += [value for value, _ in told]
        why = why or next((said for _, said in told if said), "") or ended.failed
        if ready is None or len(found) >= len(calls):
            break
        found.append(None)  # the call during which it ended
        why = why or NOTHING
    missing = [None] * (len(calls) - len(found))
    return found + missing, why or (NOTHING if missing else "")


def _whole_lines(printed: str) -> list[str]:
    return printed[: printed.rfind("\n") + 1].splitlines()


def passes(code: str, tests: str, limits: Limits = Limits()) -> bool:
    """Whether code runs, and after it its tests (asserts), to their end."""
    mark = secrets.token_hex(8)  # so that code which ends the process early has not passed
    ended = run(TESTS, json.dumps([code, tests, mark]), limits)
    return not ended.failed and ended.out.strip() == mark
