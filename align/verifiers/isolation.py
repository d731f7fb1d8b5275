"""Code that others wrote, a model or a user, run in a process of its own with limits.

The process sees no environment but PATH, an empty folder, and as much time, memory, files and
processes as it is given (root may start as many as it likes). Its results have a file of their own,
which what it prints does not reach. It is no sandbox against an attacker: it can read what its user
can read, and reach the network where the machine lets it.
"""

import ast
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
LOST = "it was not called any more after it had ended its process {} times"
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
    """How it came to an end: what it told, or why it failed."""

    out: str
    failed: str = ""


def run(script: str, given: str, limits: Limits = Limits(), *, each: bool = False) -> Ended:
    """Run a Python script with `given` on its standard input.

    What it writes to `out` is told; with `each` it has its seconds for every line of that. What it
    wrote before it was ended counts. Nothing that it started goes on after it.
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
            [sys.executable, "-I", "-X", "utf8", "-c", OUT + script, str(out.fileno())],
            cwd=folder, env={"PATH": "/usr/bin:/bin"}, stdin=told, stdout=said, stderr=said,
            pass_fds=(out.fileno(),), preexec_fn=_limited(limits, each), start_new_session=True,
        )  # fmt: skip
        in_time = _watched(process, out, limits.seconds, each)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        printed, complaint = (_read(file) for file in (out, said))
    if not in_time:
        return Ended(printed, f"it took longer than {limits.seconds:g} s")
    if process.returncode:
        last = complaint.strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
        return Ended(printed, last[0][:300])
    return Ended(printed)


def _watched(process: subprocess.Popen[bytes], out: IO[bytes], seconds: float, each: bool) -> bool:
    """Wait for its end; False where it took too long."""
    printed, ends = 0, time.monotonic() + seconds
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_SECONDS)
            return True
        if each and (size := os.fstat(out.fileno()).st_size) > printed:
            printed, ends = size, time.monotonic() + seconds
        if time.monotonic() > ends:
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


OUT = """
import os, sys
out = os.fdopen(int(sys.argv.pop()), "w")
"""
FUNCTION = """
import importlib.util, json
file, name = json.loads(sys.stdin.readline())
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
import json
def check(out):  # what answers import finds no such name
    code, tests, mark = json.load(sys.stdin)
    space = {"__name__": "answer"}
    exec(compile(code, "answer", "exec"), space)
    exec(compile(tests, "tests", "exec"), space)
    print(mark, file=out)
check(globals().pop("out"))
"""

Returned = tuple[Any, str]
"""What a call returned, or None and why."""


def call(
    file: Path,
    name: str,
    calls: Sequence[Sequence[Any]],
    limits: Limits = Limits(),
) -> list[Returned]:
    """What a function in a file returns for each list of arguments, or None and why.

    A call that raises, ends the process, or takes too long costs no other, unless several processes
    were lost.
    """
    found: list[Returned] = []
    for _ in range(MOST_KILLED):
        lines = [json.dumps([str(file.resolve()), name]), *map(json.dumps, calls[len(found) :])]
        ended = run(FUNCTION, "\n".join(lines) + "\n", limits, each=True)
        ready, *told = [json.loads(line) for line in _whole_lines(ended.out)] or [None]
        found += [(value, why) for value, why in told]
        if ready is None:
            return [(None, ended.failed or NOTHING)] * len(calls)
        if len(found) >= len(calls):
            return found
        found.append((None, ended.failed or NOTHING))  # the call during which it ended
    return found + [(None, LOST.format(MOST_KILLED))] * (len(calls) - len(found))


def require(file: Path, name: str) -> None:
    """Raises ValueError, saying why, where a file has no such function or cannot be read."""
    ended = run(FUNCTION, json.dumps([str(file.resolve()), name]) + "\n")
    if not ended.out:
        raise ValueError(ended.failed or NOTHING)


def _whole_lines(printed: str) -> list[str]:
    return printed[: printed.rfind("\n") + 1].splitlines()


def passes(code: str, tests: str | Sequence[str], limits: Limits = Limits()) -> bool:
    """Whether code runs, and after it its tests (asserts, or a list of them), to their end.

    Raises ValueError for tests that are no Python.
    """
    if not isinstance(tests, str):
        tests = "\n".join(tests)
    try:
        ast.parse(tests)
    except SyntaxError as error:
        raise ValueError(f"the row's tests are no Python: {error}") from error
    mark = secrets.token_hex(8)  # so that code which ends the process early has not passed
    ended = run(TESTS, json.dumps([code, tests, mark]), limits)
    return not ended.failed and ended.out.strip() == mark
