"""What learning from rewards will take on this machine, told by its first two phases."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from align import estimate
from align.recipes import RLHF
from align.rl.guard import SECONDS
from align.training import MADE

PHASES = 2  # the engine starts in the first one, and reads new weights in the second
LOOK_SECONDS = 0.5

Train = Callable[[RLHF, Sequence[dict[str, Any]], Path], dict[str, Any]]
"""Trains by a recipe on rows into a folder; returns what there is to say on the card."""


@dataclass(frozen=True)
class Plan:
    """Counts, and what was measured; memory and disk in bytes."""

    prompts: int
    not_asked: int
    """Of an epoch, since its phases are whole."""
    phases: int
    samples: int
    """Of a phase."""
    steps: int
    """Of a phase."""
    phase_seconds: dict[str, float]
    """By part."""
    once_seconds: float
    """To start and to end."""
    memory: int
    """Most that all processes had together."""
    disk: int

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.once_seconds + self.phases * sum(self.phase_seconds.values())

    def told(self) -> str:
        """In words."""
        parts = ", ".join(f"{name} {took:.1f} s" for name, took in self.phase_seconds.items())
        rest = f" ({self.not_asked} are over in every epoch)" if self.not_asked else ""
        return (
            f"{self.prompts} prompts make {self.phases} phases of {self.samples} samples{rest}, "
            f"each learnt in {self.steps} steps.\n"
            f"Measured here: a phase takes {sum(self.phase_seconds.values()):.0f} s ({parts}); "
            f"starting and ending {self.once_seconds:.0f} s.\n"
            f"In all about {self.seconds / 60:.1f} minutes, {self.memory / estimate.GIB:.1f} GiB "
            f"of memory and {self.disk / estimate.GIB:.1f} GiB of disk. Nothing was kept."
        )


def planned(
    recipe: RLHF, base: Path, rows: Sequence[dict[str, Any]], scratch: Path, train: Train
) -> Plan:
    """Train for up to two phases into `scratch`, and tell what all of them would take."""
    phases = recipe.epochs * (len(rows) // recipe.phase)
    first = rows[: PHASES * recipe.phase]
    began = time.monotonic()
    with most_memory() as peak:
        metrics = train(replace(recipe, epochs=1), first, scratch)
    whole = time.monotonic() - began
    curve = (scratch / MADE / "curve.jsonl").read_text(encoding="utf-8").splitlines()
    seen = [entry for entry in map(json.loads, curve) if f"{SECONDS}drawing" in entry]
    each = {
        name.removeprefix(SECONDS): fmean(float(entry[name]) for entry in seen)
        for name in seen[0]
        if name.startswith(SECONDS)
    }
    each["refreshing"] = float(seen[-1][f"{SECONDS}refreshing"])
    each["learning"] = metrics["seconds"]["learning"] / len(seen)
    once = whole - len(seen) * sum(each.values())
    need = estimate.needed(estimate.Shape.of(base), rows_as_counted(rows, recipe), recipe)
    samples = recipe.phase * recipe.answers
    steps = samples // recipe.batch
    not_asked = len(rows) % recipe.phase
    return Plan(
        len(rows), not_asked, phases, samples, steps, each, max(0.0, once), peak[0], need.disk
    )


def rows_as_counted(rows: Sequence[dict[str, Any]], recipe: RLHF) -> list[dict[str, Any]]:
    """Rows with the longest answer that each may get."""
    return [{"length": row["length"] + recipe.answer_tokens} for row in rows]


@contextmanager
def most_memory() -> Iterator[list[int]]:
    """The most bytes that this process and those it started had at once, in a list of one."""
    peak, done = [0], threading.Event()
    own = psutil.Process(os.getpid())

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            peak[0] = max(peak[0], sum(map(_taken, [own, *own.children(recursive=True)])))

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        yield peak
    finally:
        done.set()
        watching.join()


def _taken(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it has ended
        return 0
