"""How well scorers rank what people preferred, on every human preference set there is.

Some rows of each set are learnt together. Pairs about one prompt are not independent, so intervals
are by prompt; "always longer" says what length alone would tell, and the last column looks only at
pairs whose sides differ by at most a tenth in length.
"""

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from align.data.gathering import gather
from align.data.tokens import tokenized
from align.recipes import Reward
from align.rendering import tokenizer_of
from align.scoring import Scorer
from align.stages import drop_weights, train
from assistant.feedback.rows import Row
from assistant.version import Version
from tests.e2e.product import ROOT
from tests.loop.report import RESAMPLES
from tests.numbers.kept import Kept

DATA = ROOT.parent / "shared/data/preference"
LEARNT = {  # rows of each human set
    "finegrained_rlhf.train.jsonl.gz": 400,
    "hh_harmless.train.jsonl": 500,
    "oasst_en100.train.jsonl": 300,
    "oasst1_zh.train.jsonl.gz": 100,
}
UNSEEN = (
    "finegrained_rlhf.dev.jsonl",
    "hh_harmless.dev.jsonl",
    "oasst_en100.dev.jsonl",
    "oasst1_zh.dev.jsonl",
)
SEEDS = (0, 1, 2)
LONGEST = 1024
NEAR = 0.1
SIDES = ("chosen_ids", "rejected_ids")


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._steps = version, steps

    def run(self) -> dict[str, Any]:
        """Train scorers, each by its seed, then let it rank the pairs of each set."""
        found: dict[str, Any] = {"learnt": LEARNT, "scorers": []}
        for seed in SEEDS:
            told = self._steps.measure(
                f"seed-{seed}", lambda scratch, s=seed: self._scorer(s, scratch), learnt=LEARNT
            )
            if told:
                found["scorers"].append({"seed": seed, **told})
        return found

    def _scorer(self, seed: int, scratch: Path) -> dict[str, Any]:
        rows = [
            row
            for name, number in LEARNT.items()
            for row in random.Random(0).sample(
                gather("comparison", str(DATA / name), "").rows, number
            )
        ]
        recipe = Reward(epochs=1, longest=LONGEST, held_out=0.0, members=1)
        began = time.monotonic()
        story = train("reward", recipe, seed, self._version.path, rows, scratch)
        minutes = (time.monotonic() - began) / 60
        sets = [self._ranked(scratch / "model", name) for name in UNSEEN]
        drop_weights(scratch / "model")
        told = {"rows": story["rows"], "not_learnt": dict(story["not_learnt"]), "minutes": minutes}
        return {**told, "sets": sets}

    def _ranked(self, scorers: Path, name: str) -> dict[str, Any]:
        rows = gather("comparison", str(DATA / name), "").rows
        kept = [(row, one[0]) for row in rows if (one := self._ids(row))]
        texts = [ids["prompt_ids"] + ids[side] for _, ids in kept for side in SIDES]
        scores = Scorer(scorers).score_ids(texts)
        right = [
            (better.mean > worse.mean) + 0.5 * (better.mean == worse.mean)
            for better, worse in zip(scores[::2], scores[1::2], strict=True)
        ]
        lengths = [[len(ids[side]) for side in SIDES] for _, ids in kept]
        longer = [(b > w) + 0.5 * (b == w) for b, w in lengths]
        near = [abs(b - w) <= NEAR * max(b, w) for b, w in lengths]
        prompts = [json.dumps(row.data["prompt"]) for row, _ in kept]
        found = {
            "set": name,
            "pairs": len(kept),
            "too_long": len(rows) - len(kept),
            "prompts": len(set(prompts)),
            "accuracy": by_prompt(right, prompts),
            "always_longer": sum(longer) / len(longer),
        }
        if any(near):
            alike = [place for place, is_near in enumerate(near) if is_near]
            found["alike"] = len(alike)
            found["accuracy_alike"] = by_prompt(
                [right[place] for place in alike], [prompts[place] for place in alike]
            )
        return found

    def _ids(self, row: Row) -> list[dict[str, Any]]:
        return tokenized(tokenizer_of(self._version.path), [row], LONGEST)[0]


def by_prompt(values: Sequence[float], prompts: Sequence[str]) -> list[float]:
    """The mean, and a 95 % bootstrap interval of it over prompts."""
    groups: dict[str, list[float]] = {}
    for value, prompt in zip(values, prompts, strict=True):
        groups.setdefault(prompt, []).append(value)
    sums = np.array([(sum(group), len(group)) for group in groups.values()])
    drawn = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
    return [sum(values) / len(values), float(low), float(high)]


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        "| set | pairs (prompts) | seed | ranked right (95 %) | always longer | always shorter "
        "| of like length (pairs) |",
        "|---|---|---|---|---|---|---|",
    ]
    for place in range(len(UNSEEN)):
        for scorer in found["scorers"]:
            lines.append(_line(scorer["seed"], scorer["sets"][place]))
    return "\n".join(lines)


def _line(seed: int, one: dict[str, Any]) -> str:
    accuracy, low, high = one["accuracy"]
    alike = "–"
    if "alike" in one:
        right, least, most = one["accuracy_alike"]
        alike = f"{right:.0%} ({least:.0%} to {most:.0%}; {one['alike']})"
    return (
        f"| {one['set']} | {one['pairs']} ({one['prompts']}) | {seed} "
        f"| {accuracy:.0%} ({low:.0%} to {high:.0%}) | {one['always_longer']:.0%} "
        f"| {1 - one['always_longer']:.0%} | {alike} |"
    )
