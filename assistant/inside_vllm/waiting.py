"""How an engine's threads wait for each other: awake while the cores are theirs, else asleep.

The threads of one operation wait for each other hundreds of times a token. A thread that stays
awake meanwhile is there at once; but where other programs want the cores, another engine or a
training, it holds up just those that it waits for. libgomp itself waits briefly when it has more
threads than there are cores, so that an idle team of two is all it takes to change its mind.
"""

import logging
import threading
import time
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

ACCOUNT = Path("/proc/self/schedstat")
LOOK_SECONDS = 0.25
CROWDED, FREE = 0.33, 0.2  # shares of their time that threads wait for a core; see docs/serving.md
LATEST = 0.2  # how much the latest look counts beside those before
BUSY = 0.2  # cores' worth of work, below which nothing is told by waiting
ENOUGH = 1 << 18  # numbers, so that adding them up takes a team


def install() -> None:
    """Watch the cores from the process that computes, once its model is there."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - not in ours
    from vllm.v1.worker import cpu_worker  # noqa: PLC0415

    worker: Any = getattr(cpu_worker, "CPUWorker", None)
    if not current_platform.is_cpu() or getattr(worker, "watches_cores", False):
        return
    if not hasattr(worker, "compile_or_warm_up_model") or not ACCOUNT.exists():
        logger.warning("Threads always wait awake: vLLM has changed, or Linux keeps no account.")
        return
    warm_up = worker.compile_or_warm_up_model

    def compile_or_warm_up_model(self: Any) -> Any:
        warm = warm_up(self)
        Watch().start()
        return warm

    worker.compile_or_warm_up_model, worker.watches_cores = compile_or_warm_up_model, True


class Watch(threading.Thread):
    """Looks at how long this process's threads wait for a core, and lets them wait accordingly."""

    def __init__(self) -> None:
        super().__init__(name="watch of the cores", daemon=True)
        self._idle_team: IdleTeam | None = None
        self._crowded = 0.0

    def run(self) -> None:
        """Look for as long as the process lives."""
        before, then = times(), time.monotonic()
        while True:
            time.sleep(LOOK_SECONDS)
            after, now = times(), time.monotonic()
            ran, waited = after[0] - before[0], after[1] - before[1]
            if ran + waited > BUSY * (now - then):
                self.see(waited / (ran + waited))
            before, then = after, now

    def see(self, crowded: float) -> None:
        """Follow the share of time that threads waited for a core."""
        self._crowded += LATEST * (crowded - self._crowded)
        if self._crowded > CROWDED and not self._idle_team:
            self._idle_team = IdleTeam()
            logger.info("Threads of an engine wait asleep: the cores are wanted by others.")
        elif self._crowded < FREE and self._idle_team:
            self._idle_team.leave()
            self._idle_team = None
            logger.info("Threads of an engine wait awake: the cores are theirs.")


class IdleTeam(threading.Thread):
    """A team of libgomp's that does nothing, but counts: with it there are too many threads."""

    def __init__(self) -> None:
        super().__init__(name="idle team", daemon=True)
        self._wanted = threading.Event()
        self.start()

    def run(self) -> None:
        """Have a team made, and keep it."""
        torch.ones(ENOUGH).sum()
        self._wanted.wait()

    def leave(self) -> None:
        """End it; libgomp counts its threads no longer."""
        self._wanted.set()
        self.join()


def times() -> tuple[float, float]:
    """Seconds that this process's threads ran, and that they waited for a core, so far."""
    ran = waited = 0
    for thread in Path("/proc/self/task").iterdir():
        try:
            fields = (thread / "schedstat").read_text().split()
        except OSError:  # it has just ended
            continue
        ran, waited = ran + int(fields[0]), waited + int(fields[1])
    return ran / 1e9, waited / 1e9
