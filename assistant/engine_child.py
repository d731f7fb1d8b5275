"""An engine's process: tied to its parent's life, it imports vLLM and serves what it is told to."""

import ctypes
import json
import os
import signal
import sys
from typing import Any

from setproctitle import setproctitle

from assistant.inside_vllm import building

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Be ready to become any engine, then become the one that is asked for."""
    end_with(int(sys.argv[1]))
    so_do_its_children()
    building.begin()
    from vllm.entrypoints.launchers.api_server import entry  # noqa: PLC0415 - takes seconds

    from assistant.inside_vllm import start  # noqa: PLC0415

    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)  # nobody will ask any more
    follow(json.loads(line))
    start.install()
    entry.main()


def end_with(parent: int) -> None:
    """Have Linux kill this process when its parent dies, so that no engine outlives a killed app.

    It is killed and not asked: vLLM does not hear while it compiles, and nobody waits for answers.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def so_do_its_children() -> None:
    """What this process forks, such as vLLM's core, ends with the process that forked it."""
    forking = [os.getpid()]

    def before() -> None:
        forking[0] = os.getpid()

    os.register_at_fork(before=before, after_in_child=lambda: end_with(forking[0]))


def follow(orders: dict[str, Any]) -> None:
    """Log where it is wanted, and take vLLM's flags as if they had been given at the start."""
    log = os.open(orders["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for kept, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(kept, standard)
    os.close(log)
    os.close(nothing)
    sys.argv[1:] = orders["flags"]
    setproctitle(
        " ".join([sys.executable, "-m", "assistant.engine_child", *orders["flags"]])
    )  # for `ps`


if __name__ == "__main__":
    main()
