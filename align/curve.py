"""Beside every step: its numbers are kept, what is none ends it, and checkpoints come in time."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from transformers import TrainerCallback

from align import ranks
from align.ends import ENDS
from align.merging import TrainingFailed
from align.progress import Progress
from align.steady import MOVED

CHOSEN = "rewards/chosen"  # β times the gain of the better answers, as TRL logs it
STEPS = 10
EXPLODED = 3.0  # over what the loss began with; in nats: every token is twenty times less likely
GROWN = 1.5  # times that, too: some losses begin high
FALLEN = "the better answers became unlikely"
EARLY, LATE = "answers came to end too readily", "answers came to end too rarely"


@dataclass(frozen=True)
class Band:
    """How far training may lead before it stops."""

    floor: float = -math.inf
    """What the better answers' reward may fall to, on average of the last steps."""
    stretch: float = math.inf
    """Times by which answers may come to end more readily, or less."""
    exploded: float = EXPLODED
    """By how much the loss may be over what it began with, before it is taken for broken."""


class Clock(TrainerCallback):  # type: ignore[misc]
    """Has a checkpoint written after so many seconds of training."""

    def __init__(self, seconds: float, steps_at_once: int = 1) -> None:
        self._seconds = seconds
        self._steps = steps_at_once
        self._saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the clock; where several processes train, at that of the first."""
        if state.global_step % self._steps:
            return
        due = time.monotonic() - self._saved >= self._seconds
        if ranks.agreed(due):
            self._saved = time.monotonic()
            control.should_save = True


class Watch(TrainerCallback):  # type: ignore[misc]
    """Writes the curve as it grows, reports progress, and stops a loss that is not a number."""

    def __init__(self, progress: Progress, curve: Path, anchor: float, band: Band) -> None:
        self._progress = progress
        self._curve = curve
        self._anchor = anchor
        self._band = band
        self._kept: list[dict[str, Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget what was logged after the checkpoint that training goes on from."""
        if self._curve.is_file():
            self._kept = [e for e in _entries(self._curve) if e["step"] <= state.global_step]
        self._curve.write_text("".join(json.dumps(e) + "\n" for e in self._kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the numbers of one step."""
        numbers = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        if "loss" not in numbers:
            return
        if not math.isfinite(numbers["loss"]) or not math.isfinite(numbers.get("grad_norm", 0)):
            raise TrainingFailed(
                f"The loss is not a number any more at step {state.global_step}; train again with "
                "a smaller --learning-rate, or look for broken rows."
            )
        numbers["loss"] -= self._anchor * numbers.get(MOVED, 0.0)  # what is learnt, alone
        entry = {"step": state.global_step, **numbers}
        self._kept.append(entry)
        with self._curve.open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(entry) + "\n")
        self._progress.update(state.global_step, state.max_steps)
        if self._has_exploded():
            raise TrainingFailed(
                f"The loss has grown to {entry['loss']:.3g} at step {state.global_step}, from "
                f"{self._kept[0]['loss']:.3g}; train again with a smaller --learning-rate."
            )
        if self._why_stopped():
            control.should_training_stop = True

    def _has_exploded(self) -> bool:
        """Whether the last steps' loss is far over the first ones', which noise alone is not."""
        if len(self._kept) < 2 * STEPS:
            return False
        first, last = (
            mean(float(entry["loss"]) for entry in some)
            for some in (self._kept[:STEPS], self._kept[-STEPS:])
        )
        return last > first + self._band.exploded and last > GROWN * first

    def _why_stopped(self) -> str | None:
        """What left the band, if anything did."""
        rewards = [entry[CHOSEN] for entry in self._kept[-STEPS:] if CHOSEN in entry]
        if len(rewards) == STEPS and mean(rewards) < self._band.floor:
            return FALLEN
        times = self._last(ENDS)
        if times is None:
            return None
        if times > self._band.stretch:
            return EARLY
        return LATE if times < 1 / self._band.stretch else None

    def _last(self, name: str) -> float | None:
        """A number that not every step has."""
        return next((entry[name] for entry in reversed(self._kept) if name in entry), None)

    def summary(self) -> dict[str, Any]:
        """The first and the last numbers of the curve."""
        if not self._kept:
            return {}
        first, last = self._kept[0], self._kept[-1]
        why = self._why_stopped()
        stopped = {"stopped": why} if why else {}
        losses = {"loss_first": first["loss"], "loss_last": last["loss"]}
        noted = ("rewards/accuracies", "rewards/margins", MOVED)
        told = {name: last[name] for name in noted if name in last}
        if (times := self._last(ENDS)) is not None:
            told[ENDS] = times
        return {"steps": last["step"]} | losses | stopped | told


def _entries(curve: Path) -> Iterator[dict[str, Any]]:
    """The numbers of its steps; a line that a full disk or a kill cut off is none."""
    for line in curve.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return
