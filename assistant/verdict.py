"""What votes prove so far: bounds of a win rate that hold however often one looks.

The hedged capital process of Waudby-Smith & Ramdas, "Estimating means of bounded random variables
by betting" (JRSS B 86, 2024; arXiv 2010.09686, theorem 3) with their approximate GRAPA bets (B.3).
Each vote is worth 1 (the candidate won), 0.5 (neither) or 0. For a supposed win rate m one gambler
bets that the true one is higher, another that it is lower. Were m true, neither could expect to
gain, so by Ville's inequality m is refuted once a gambler has turned 1 into 2/ALPHA, whenever that
is. Assumed: a vote may depend on earlier ones; what is bounded is the mean chance of a win.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

ALPHA = 0.05  # chance that the bounds ever miss the true win rate
LEAST_VOTES = 50  # before a candidate may be promoted
CAUTION = 0.75  # share of what a gambler could lose at most in one bet
PARITY = 0.5
GRID = np.linspace(0.001, 0.999, 999)
FORESIGHT = 1000  # votes looked ahead
FUTURES = 200

Decision = Literal["promote", "withdraw", "ask"]
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Verdict:
    """What `votes` say: their mean, its bounds, and what follows."""

    votes: int
    win_rate: float | None
    lower: float
    upper: float
    decision: Decision
    more: int | None = None
    """Votes it likely still takes (the median of simulated futures); None if over FORESIGHT."""


def judge(scores: Sequence[float]) -> Verdict:
    """The verdict on a trial's votes, each 0, 0.5 or 1 for the candidate, in the order given."""
    lower, upper = bounds(scores)
    mean = float(np.mean(scores)) if scores else None
    if upper < PARITY:
        return Verdict(len(scores), mean, lower, upper, "withdraw", 0)
    if lower > PARITY and len(scores) >= LEAST_VOTES:
        return Verdict(len(scores), mean, lower, upper, "promote", 0)
    return Verdict(len(scores), mean, lower, upper, "ask", votes_to_go(scores))


def bounds(scores: Sequence[float]) -> tuple[float, float]:
    """The running intersection of (1 - ALPHA) confidence intervals after every vote."""
    gamblers = _Gamblers(GRID)
    refuted = np.zeros(len(GRID), dtype=bool)
    for score in scores:
        gamblers.bet(np.asarray(score, dtype=float))
        refuted |= gamblers.sure_higher | gamblers.sure_lower
    if refuted.all() or not scores:
        return 0.0, 1.0
    kept = GRID[~refuted]
    lower = 0.0 if not refuted[0] else float(kept[0])
    upper = 1.0 if not refuted[-1] else float(kept[-1])
    return lower, upper


def votes_to_go(scores: Sequence[float]) -> int | None:
    """How many more votes a decision likely takes if people go on voting as they did."""
    rng = np.random.default_rng(len(scores))
    shares = np.array([scores.count(value) + 1 / 3 for value in (0.0, 0.5, 1.0)])
    future = rng.choice([0.0, 0.5, 1.0], (FORESIGHT, FUTURES), p=shares / shares.sum())
    gamblers = _Gamblers(np.full(FUTURES, PARITY))
    for score in scores:
        gamblers.bet(np.full(FUTURES, score))
    decided = np.full(FUTURES, FORESIGHT + 1)
    for more, votes in enumerate(future, start=1):
        gamblers.bet(votes)
        promoted = gamblers.sure_higher & (len(scores) + more >= LEAST_VOTES)
        decided[(promoted | gamblers.sure_lower) & (decided > more)] = more
    median = int(np.median(decided))
    return median if median <= FORESIGHT else None


class _Gamblers:
    """Two gamblers for each supposed mean m; what they own is kept as a logarithm."""

    def __init__(self, supposed: Array) -> None:
        self._supposed = supposed
        self._higher = np.zeros(len(supposed))
        self._lower = np.zeros(len(supposed))
        self._count = 0
        self._sum = np.full(len(supposed), 0.5)
        self._squares = np.full(len(supposed), 0.25)

    def bet(self, outcome: Array) -> None:
        """Bet on what is known before this outcome, then learn it (one, or one per gambler)."""
        m = self._supposed
        edge = self._sum / (self._count + 1) - m
        stake = edge / (self._squares / (self._count + 1) + edge**2)
        self._higher += np.log1p(np.clip(stake, 0, CAUTION / m) * (outcome - m))
        self._lower += np.log1p(-np.clip(-stake, 0, CAUTION / (1 - m)) * (outcome - m))
        self._count += 1
        self._sum = self._sum + outcome
        self._squares = self._squares + (outcome - self._sum / (self._count + 1)) ** 2

    @property
    def sure_higher(self) -> Mask:
        """Where the true mean is proved higher than supposed."""
        return np.asarray(self._higher > np.log(2 / ALPHA))

    @property
    def sure_lower(self) -> Mask:
        """Where it is proved lower."""
        return np.asarray(self._lower > np.log(2 / ALPHA))
