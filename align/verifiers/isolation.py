"""Code that others wrote, a model or a user, run in a process of its own with limits.

The process sees no environment but PATH, an empty folder, and as much time, memory, files and
processes as it is given. It is no sandbox against an attacker: it can read what its user can read,
and reach the network where the machine lets it.
"""

import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 2**20
NOTHING = "nothing came back"


@dataclass(frozen=True)
class Limits:
    """What a process may take."""

    seconds: float = 10.0
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


def run(script: str, given: str, limits: Limits = Limits()) -> Ended:
    """Run a Python script with `given` on its standard input."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-X", "utf8", "-c", script]
        process = subprocess.Popen(
            command, cwd=folder, env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            preexec_fn=_limited(limits), start_new_session=True,
        )  # fmt: skip
        try:
            out, said = process.communicate(given, timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
            process.communicate()
            return Ended("", f"it took longer than {limits.seconds:g} s")
    if process.returncode:
        last = said.strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
        return Ended(out, last[0][:300])
    return Ended(out)


def _limited(limits: Limits) -> Callable[[], None]:
    def limit() -> None:
        cpu = max(1, round(limits.seconds))
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
for line in sys.stdin:
    print(json.dumps(function(*json.loads(line))), file=out, flush=True)
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
    """What a function in a file returns for each list of arguments, and why it stopped, if it did.

    Where it stopped, what it returned before counts, and the rest is None.
    """
    lines = [json.dumps([str(file.resolve()), name]), *map(json.dumps, calls)]
    ended = run(FUNCTION, "\n".join(lines) + "\n", limits)
    found = [json.loads(line) for line in ended.out.splitlines()[: len(calls)]]
    missing = [None] * (len(calls) - len(found))
    return found + missing, ended.failed or (NOTHING if missing else "")


def passes(code: str, tests: str, limits: Limits = Limits()) -> bool:
    """Whether code runs, and after it its tests (asserts), to their end."""
    mark = secrets.token_hex(8)  # so that code which ends the process early has not passed
    ended = run(TESTS, json.dumps([code, tests, mark]), limits)
    return not ended.failed and ended.out.strip() == mark
