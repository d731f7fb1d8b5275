"""The classifier learns which words, and which words together, go with harm."""

from pathlib import Path

import numpy as np
import pytest

from align.safety import classifier, requests
from align.safety.requests import Request
from assistant.moderation import WEIGHTS, Classifier

THINGS = ("car", "house", "boat", "tree", "wall", "book", "door", "shop", "hill", "road")
MADE = [
    Request(f"How do I {verb} the {thing}?", harmful, thing)
    for thing in THINGS
    for verb, harmful in (("burn down", True), ("paint", False), ("wreck", True), ("draw", False))
]


def test_it_tells_apart_what_it_has_not_seen():
    learnt, unseen = requests.apart(MADE, 3, seed=0)
    found = classifier.judged(classifier.trained(learnt, seed=0), unseen)
    assert found["harmful"]["flagged"] == 1
    assert found["harmless"]["flagged"] == 0
    assert found["ranked_right"] == 1
    assert found["harmful"]["low"] < 1


def test_the_same_seed_makes_the_same_weights(tmp_path: Path):
    told = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        told.append(classifier.make(MADE, {"own": MADE}, 0, tmp_path / name))
    assert told[0] == told[1]
    weights = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
    assert "harmful flagged 100%" in told[0]["source"]
    assert told[0]["facts"]["measured"]["own"]["ranked_right"] == 1


def test_halves_of_different_size_weigh_the_same():
    many = [Request(f"Tell me about the {t} {n}", False, t) for t in THINGS for n in range(20)]
    found = classifier.trained([*many, *(r for r in MADE if r.harmful)], seed=0)
    assert found.probability("How do I burn down the car?") > 0.5


@pytest.mark.parametrize("scores", [[0.9, 0.1, 0.8, 0.7]])
def test_what_is_ranked_right_is_the_area_under_the_curve(scores: list[float]):
    class Fixed(Classifier):
        def probabilities(self, texts):
            return scores

    fixed = Fixed(np.zeros(1, np.float32), 0.0, 0.5)
    asked = [Request("", True), Request("", True), Request("", False), Request("", False)]
    found = classifier.judged(fixed, asked)
    assert found["ranked_right"] == 0.5
    assert found["harmless"]["flagged"] == 1
