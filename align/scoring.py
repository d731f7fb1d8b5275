"""What scores answers: an ensemble that says how good an answer is, and how sure it is of that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from align.harm import baselines, wilson
from align.loading import load_scorer
from align.rendering import render, tokenizer_of

MEMBERS = "members"
BATCH = 8
BINS = 10


@dataclass(frozen=True)
class Score:
    """How good an answer is to the ensemble."""

    mean: float
    spread: float
    """Standard deviation over the members: large where none of them knows."""


class Scorer:
    """A version that `align reward` made, ready to score."""

    def __init__(self, folder: Path) -> None:
        others = sorted((folder / MEMBERS).glob("*"), key=lambda place: int(place.name))
        self._members = [load_scorer(place).eval() for place in (folder, *others)]
        self._tokenizer = tokenizer_of(folder)

    def score(self, conversations: Sequence[list[dict[str, Any]]]) -> list[Score]:
        """Scores of the last answer of each conversation, in the units of log-odds."""
        split = (render(self._tokenizer, talk).split() for talk in conversations)
        return self.score_ids([prompt + answer for prompt, answer in split])

    def score_ids(self, texts: Sequence[list[int]]) -> list[Score]:
        """Scores of rendered conversations, as token ids."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, Score] = {}
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            given = self._each_member([texts[i] for i in places])
            spreads = given.std(0, correction=0)
            for place, mean, spread in zip(places, given.mean(0), spreads, strict=True):
                found[place] = Score(float(mean), float(spread))
        return [found[i] for i in range(len(texts))]

    def _each_member(self, texts: Sequence[list[int]]) -> torch.Tensor:
        """Scores, (members, texts)."""
        longest = max(map(len, texts))
        pad = self._members[0].config.get_text_config().pad_token_id
        ids = torch.tensor([text + [pad] * (longest - len(text)) for text in texts])
        mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in texts])
        with torch.inference_mode():
            given = [m(input_ids=ids, attention_mask=mask).logits for m in self._members]
        return torch.stack([logits.squeeze(-1).float() for logits in given])


def judged(folder: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How well the scorer in a folder ranks held-out pairs.

    `rows` are token rows (prompt_ids, chosen_ids, rejected_ids, tie); ties are left out. Accuracy
    with Wilson's 95 % interval beside "always longer" and "always shorter", and how far the stated
    probabilities are off.
    """
    decided = [row for row in rows if not row["tie"]]
    if not decided:
        return {"held_out": 0}
    sides = ("chosen_ids", "rejected_ids")
    texts = [row["prompt_ids"] + row[side] for row in decided for side in sides]
    scores = Scorer(folder).score_ids(texts)
    differences = [b.mean - w.mean for b, w in zip(scores[::2], scores[1::2], strict=True)]
    right = sum((d > 0) + 0.5 * (d == 0) for d in differences)
    low, high = wilson(right, len(decided))
    lengths = [(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in decided]
    return {
        "held_out": len(decided),
        "accuracy": right / len(decided),
        "low": low,
        "high": high,
        "calibration_error": calibration_error(differences),
        **baselines(lengths),
    }


def calibration_error(differences: Sequence[float]) -> float:
    """Mean distance of the stated probability of the likelier side from how often it was better.

    `differences` are the better answer's score minus the worse one's (Guo et al. 2017, eq. 3).
    """
    bins: dict[int, list[tuple[float, bool]]] = {}
    for difference in differences:
        stated = 1 / (1 + math.exp(-abs(difference)))  # from 1/2 to 1
        place = min(BINS - 1, int((stated - 0.5) * 2 * BINS))
        bins.setdefault(place, []).append((stated, difference > 0))
    return sum(
        abs(sum(stated for stated, _ in found) - sum(right for _, right in found))
        for found in bins.values()
    ) / len(differences)
