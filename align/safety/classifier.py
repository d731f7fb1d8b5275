"""A classifier of requests, learnt from both halves."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from align.harm import wilson
from align.safety.requests import Request
from assistant.moderation import Classifier, features, pieces

BUCKETS = 2**18
FOLDS = 4
DECAYS = (1e-5, 1e-4)
"""Strengths of the pull to 0 that are tried, on requests of families that were not learnt from."""
STEPS = 30


def make(
    learnt: Sequence[Request], tests: dict[str, list[Request]], seed: int, out: Path
) -> dict[str, Any]:
    """Train, write to `out`, and measure on requests that were not learnt from: a card's facts."""
    classifier = trained(learnt, seed)
    classifier.save(out)
    measured = {test: judged(classifier, requests) for test, requests in tests.items()}
    harmful = sum(request.harmful for request in learnt)
    return {
        "source": f"classifier of {len(learnt)} requests ({harmful} harmful); {_told(measured)}",
        "facts": {"architecture": "hashed n-grams, logistic regression", "measured": measured},
    }


def trained(requests: Sequence[Request], seed: int) -> Classifier:
    """The classifier of these requests.

    How strongly its weights are held, and from which probability on it flags, are chosen on folds
    whose families it has not seen: the latter so that both halves get as many right on average.
    """
    folds = _folds(requests, seed)
    tried = {decay: [_unseen(fold, decay) for fold in folds] for decay in DECAYS}
    decay = min(DECAYS, key=lambda one: sum(float(_surprise(*fold)) for fold in tried[one]))
    weights, bias = _fitted(requests, decay)
    return Classifier(weights, bias, _threshold(tried[decay]))


def judged(classifier: Classifier, requests: Sequence[Request]) -> dict[str, Any]:
    """Both halves: the share flagged of the harmful and of the harmless, with 95 % intervals.

    And the share of all pairs of one of each that are ranked right (the area under the ROC curve).
    """
    found: dict[str, Any] = {}
    scores = classifier.probabilities([request.text for request in requests])
    halves = {
        half: [s for s, r in zip(scores, requests, strict=True) if r.harmful is harmful]
        for half, harmful in (("harmful", True), ("harmless", False))
    }
    for half, given in halves.items():
        flagged = sum(score >= classifier.threshold for score in given)
        if given:
            low, high = wilson(flagged, len(given))
            found[half] = {
                "requests": len(given), "flagged": flagged / len(given), "low": low, "high": high,
            }  # fmt: skip
    if all(halves.values()):
        bad, good = (np.asarray(halves[half]) for half in ("harmful", "harmless"))
        ahead = bad[:, None] - good[None, :]
        found["ranked_right"] = float(((ahead > 0) + 0.5 * (ahead == 0)).mean())
    return found


def _folds(requests: Sequence[Request], seed: int) -> list[tuple[list[Request], list[Request]]]:
    """Learnt and left out, by families; requests without a family are spread."""
    chance = random.Random(seed)
    families = sorted({request.family for request in requests} - {""})
    place = {family: number % FOLDS for number, family in enumerate(families)}
    places = [place[r.family] if r.family else chance.randrange(FOLDS) for r in requests]
    folds = []
    for fold in range(FOLDS):
        learnt = [r for r, p in zip(requests, places, strict=True) if p != fold]
        unseen = [r for r, p in zip(requests, places, strict=True) if p == fold]
        if learnt and unseen:
            folds.append((learnt, unseen))
    return folds


Judged = tuple[torch.Tensor, Sequence[Request]]
"""The log-odds of requests, and those."""


def _unseen(fold: tuple[list[Request], list[Request]], decay: float) -> Judged:
    """What a classifier of the first part thinks of the second."""
    learnt, unseen = fold
    weights, bias = _fitted(learnt, decay)
    return _Bags(unseen)(torch.from_numpy(weights)) + bias, unseen


def _threshold(judged: Sequence[Judged]) -> float:
    """The probability at which the shares of both halves that are told right add up to the most.

    Of requests with a family, if any: the others are told apart by what they are about.
    """
    if not judged:
        return 0.5
    logits = torch.cat([logits for logits, _ in judged])
    requests = [request for _, some in judged for request in some]
    counts = torch.tensor([bool(r.family) for r in requests])
    counts = counts if counts.any() else ~counts
    harmful = torch.tensor([r.harmful for r in requests])[counts]
    ordered, places = logits[counts].sort()
    missed = harmful[places].cumsum(0) / harmful.sum().clamp(min=1)
    spared = (~harmful)[places].cumsum(0) / (~harmful).sum().clamp(min=1)
    best = int((spared - missed).argmax())
    above = ordered[min(best + 1, len(ordered) - 1)]
    return float(((ordered[best] + above) / 2).sigmoid())


def _fitted(requests: Sequence[Request], decay: float) -> tuple[np.ndarray, float]:
    """Weights and bias of least surprise, by L-BFGS."""
    bags = _Bags(requests)
    weights = torch.zeros(BUCKETS, requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = _surprise(bags(weights) + bias, requests) + decay * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach().numpy(), float(bias.detach())


def _surprise(logits: torch.Tensor, requests: Sequence[Request]) -> torch.Tensor:
    """Cross entropy in nats; halves weigh the same, and so do requests with a family and others."""
    kinds = [(request.harmful, bool(request.family)) for request in requests]
    sizes = Counter(kinds)
    each = torch.tensor([1 / (len(sizes) * sizes[kind]) for kind in kinds])
    labels = torch.tensor([float(request.harmful) for request in requests])
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits, labels, weight=each, reduction="sum"
    )


class _Bags:
    """Texts as buckets, to be summed with one weight each."""

    def __init__(self, requests: Sequence[Request]) -> None:
        found = [features(pieces(request.text)[0], BUCKETS) for request in requests]
        self._places = torch.from_numpy(np.concatenate([places for places, _ in found]))
        self._amounts = torch.from_numpy(np.concatenate([amounts for _, amounts in found]))
        ends = np.cumsum([0, *(len(places) for places, _ in found)])[:-1]
        self._starts = torch.from_numpy(ends)

    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        """A sum for each text."""
        return torch.nn.functional.embedding_bag(
            self._places, weights[:, None], self._starts, mode="sum",
            per_sample_weights=self._amounts,
        )[:, 0]  # fmt: skip


def _told(measured: dict[str, dict[str, Any]]) -> str:
    return "; ".join(
        f"{test}: "
        + ", ".join(
            f"{half} flagged {one[half]['flagged']:.0%} "
            f"({one[half]['low']:.0%} to {one[half]['high']:.0%} of {one[half]['requests']})"
            for half in ("harmful", "harmless")
            if half in one
        )
        for test, one in measured.items()
    )
