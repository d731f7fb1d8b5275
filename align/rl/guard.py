"""Watches whether a reward still means what it was to mean, and stops training where it does not.

A model that is rewarded finds what its rewarders overlook (Gao, Schulman & Hilton 2023): the reward
rises on, and what people think of the answers falls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from align.harm import wilson

APART = "models_apart"
RIGHT = "held_out_right"
LENGTH = "completions/mean_length"
CUT = "completions/clipped_ratio"  # the share of answers that were cut off
ENDED = 0.1  # the share of answers that end by themselves at first, below which few say little
REPEATED = "repeated"  # the share of an answer's 4-grams that it said before, on average
SECONDS = "seconds/"
STEP = "step_time"  # seconds, as TRL logs them: those parts, and learning

LEFT = "it left the base as far as it may"
DIFFERED = "its reward grew, and its reward models came to differ about it"
LONGER = "its reward grew, and its answers with it"
ENDLESS = "its reward grew, and its answers came to be cut off"
REPEATS = "its reward grew, and its answers came to repeat themselves"
AGAINST = "its reward grew, and it came to prefer what people did not"


@dataclass(frozen=True)
class Bounds:
    """How far training may go before it stops."""

    budget: float
    """Nats by token from the base."""
    window: int
    """Measurements of that distance of which the mean counts."""
    apart: float
    """Times by which the reward models may differ more than at first."""
    longer: float
    """Times by which answers may be longer than at first, or end by themselves more rarely."""
    repeats: float
    """By how much a larger share of their 4-grams may repeat others than at first."""
    held_out: int = 0
    """Pairs that people judged."""


FIRST_AND_LAST = (
    ("length", LENGTH),
    ("cut_off", CUT),
    (REPEATED, REPEATED),
    ("models_apart", APART),
    ("held_out_right", RIGHT),
)


class Guard(TrainerCallback):  # type: ignore[misc]
    """Looks at what is logged, which checkpoints keep, so that a kill makes no difference."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._history: Sequence[Mapping[str, Any]] = ()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Look at the last steps."""
        self._history = state.log_history
        if self.why_stopped:
            control.should_training_stop = True

    @property
    def why_stopped(self) -> str | None:
        """Which bound was passed, if any."""
        recent = self._of("kl")[-self._bounds.window :]
        if len(recent) == self._bounds.window and _mean(recent) > self._bounds.budget:
            return LEFT
        rewards = self._of("reward")
        if len(rewards) < 2 or rewards[-1] <= rewards[0]:
            return None  # nothing is exploited that brings nothing
        if self._grew(APART, self._bounds.apart):
            return DIFFERED
        if self._grew(LENGTH, self._bounds.longer):
            return LONGER
        cut, repeated = self._of(CUT), self._of(REPEATED)
        if cut and ENDED <= 1 - cut[0] > self._bounds.longer * (1 - cut[-1]):
            return ENDLESS
        if repeated and repeated[-1] > repeated[0] + self._bounds.repeats:
            return REPEATS
        right = self._of(RIGHT)
        pairs = self._bounds.held_out
        if right and pairs and wilson(right[-1] * pairs, pairs)[1] < 0.5:
            return AGAINST
        return None

    def told(self) -> dict[str, Any]:
        """For the card: the first and the last phase beside each other, and what it all took."""
        rewards, left = self._of("reward"), self._of("kl")
        if not rewards or not left:
            return {}
        found = {"reward_first": rewards[0], "reward_last": rewards[-1]}
        found["nats_from_base"] = _mean(left[-self._bounds.window :])
        for name, key in FIRST_AND_LAST:
            if numbers := self._of(key):
                found |= {f"{name}_first": numbers[0], f"{name}_last": numbers[-1]}
        stopped = {"stopped": self.why_stopped} if self.why_stopped else {}
        return found | stopped | {"seconds": self._seconds()}

    def _seconds(self) -> dict[str, float]:
        """What each part of all phases took."""
        parts: dict[str, float] = {}
        for entry in self._history:
            for name, value in entry.items():
                if name.startswith(SECONDS):
                    part = name.removeprefix(SECONDS)
                    parts[part] = parts.get(part, 0.0) + value
        return parts | {"learning": sum(self._of(STEP)) - sum(parts.values())}

    def _grew(self, name: str, times: float) -> bool:
        numbers = self._of(name)
        return len(numbers) > 1 and numbers[-1] > times * numbers[0] > 0

    def _of(self, name: str) -> list[float]:
        return [float(e[name]) for e in self._history if e.get(name) is not None]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
