"""Is there evidence that a candidate does harm? Compared item by item with the current version."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from align.measure import Measures

RESAMPLES = 4000
PERPLEXITY_RISE = 0.05
STOP_RATE_FALL = 0.03
REFUSAL_RISE = 0.05
REPETITION_RISE = 0.05


@dataclass(frozen=True)
class Check:
    """One comparison: before, after, the change with its 95 % interval, and whether it is harm."""

    name: str
    before: float
    after: float
    low: float
    high: float
    limit: float | None
    """How far the change may go; None where it is only reported."""
    harm: bool
    says: str


def compare(
    before: Measures,
    after: Measures,
    logps: Sequence[tuple[float, float, float, float]],
    lengths: Sequence[tuple[int, int]],
) -> list[Check]:
    """Every check of a candidate (`after`) against the current version (`before`).

    `logps` holds, for each held-out pair, the log-probabilities of the better and the worse answer
    under the current version and under the candidate; `lengths` holds the two answers' tokens.
    Harm needs evidence: the whole interval must lie beyond the limit.
    """
    rise = paired(before.losses, after.losses)
    checks = [
        _check(
            "perplexity", before.perplexity, after.perplexity,
            (math.expm1(rise[0]), math.expm1(rise[1])), PERPLEXITY_RISE, _above,
            "plain text became less likely",
        ),
        _of_answers("stopped", before, after, -STOP_RATE_FALL, _below, "fewer answers end"),
        _of_answers("refused", before, after, REFUSAL_RISE, _above, "it refuses more often"),
        _of_answers("repetition", before, after, REPETITION_RISE, _above, "it repeats itself more"),
        _of_answers("tokens", before, after, None, _above, "answers changed in length"),
    ]  # fmt: skip
    return checks + ([_pairs(logps, lengths)] if logps else [])


def baselines(lengths: Sequence[tuple[int, int]]) -> dict[str, float]:
    """How often "always the longer" and "always the shorter" pick the better answer."""
    longer = sum((c > r) + 0.5 * (c == r) for c, r in lengths) / len(lengths)
    return {"always_longer": longer, "always_shorter": 1 - longer}


def as_facts(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Checks as they are written to files."""
    return [asdict(check) for check in checks]


def _pairs(
    logps: Sequence[tuple[float, float, float, float]], lengths: Sequence[tuple[int, int]]
) -> Check:
    """Whether the candidate, measured from where it started, prefers what people preferred."""
    gains = [(c1 - c0) - (r1 - r0) for c0, r0, c1, r1 in logps]
    right = sum(gain > 0 for gain in gains)
    low, high = wilson(right, len(gains))
    base = baselines(lengths)
    says = (
        f"of {len(gains)} held-out pairs; always longer {base['always_longer']:.0%}, "
        f"always shorter {base['always_shorter']:.0%}"
    )
    return Check("pair_accuracy", 0.5, right / len(gains), low, high, 0.5, high < 0.5, says)


def wilson(successes: float, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, successes / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def paired(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the mean change, by resampling the items (paired bootstrap)."""
    changes = np.asarray(after) - np.asarray(before)
    picks = np.random.default_rng(0).integers(0, len(changes), (RESAMPLES, len(changes)))
    low, high = np.quantile(changes[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _of_answers(
    name: str,
    before: Measures,
    after: Measures,
    limit: float | None,
    beyond: "Beyond",
    says: str,
) -> Check:
    values = [[float(getattr(a, name)) for a in m.answers] for m in (before, after)]
    return _check(
        name, before.mean(name), after.mean(name), paired(*values), limit, beyond, says
    )  # fmt: skip


Beyond = Callable[[tuple[float, float], float], bool]


def _above(interval: tuple[float, float], limit: float) -> bool:
    return not interval[0] <= limit  # what is not a number is harm, too


def _below(interval: tuple[float, float], limit: float) -> bool:
    return not interval[1] >= limit


def _check(
    name: str,
    before: float,
    after: float,
    interval: tuple[float, float],
    limit: float | None,
    beyond: Beyond,
    says: str,
) -> Check:
    harm = limit is not None and beyond(interval, limit)
    return Check(name, before, after, *interval, limit, harm, says)
