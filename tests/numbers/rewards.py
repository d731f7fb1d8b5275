"""How well scorers rank what people preferred, on every human preference set there is.

Some rows of each set are learnt together. Pairs about one prompt are not independent, so intervals
are by prompt; "always longer" says what length alone would tell, and the last column looks only at
pairs whose sides differ by at most a tenth in length.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from align.data.gathering import gather
from align.data.tokens import tokenized
from align.recipes import Reward
from align.rendering import tokenizer_of
from align.scoring import Scorer
from align.stages import train
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
LONGEST = 1024
NEAR = 0.1
SIDES = ("chosen_ids", "rejected_ids")


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._steps = version, steps

    def run(self) -> dict[str, Any]:
        """Train the scorers, then rank the pairs of each set."""
        made = self._steps.do("train", self._train)
        scorers = self._steps.folder / "train" / "model"
        found: dict[str, Any] = {"learnt": LEARNT, "rows": made["rows"], "sets": []}
        for name in UNSEEN:
            step = name.partition(".")[0]
            found["sets"].append(self._steps.do(step, lambda _, n=name: self._ranked(scorers, n)))
        return found

    def _train(self, scratch: Path) -> dict[str, Any]:
        rows = [
            row
            for name, number in LEARNT.items()
            for row in random.Random(0).sample(
                gather("comparison", str(DATA / name), "").rows, number
            )
        ]
        recipe = Reward(epochs=1, longest=LONGEST, held_out=0.0)
        story = train("reward", recipe, 0, self._version.path, rows, scratch)
        return {"rows": story["rows"], "not_learnt": dict(story["not_learnt"])}

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
        "| set | pairs (prompts) | ranked right (95 %) | always longer | always shorter "
        "| of like length (pairs) |",
        "|---|---|---|---|---|---|",
    ]
    for one in found["sets"]:
        accuracy, low, high = one["accuracy"]
        alike = "–"
        if "alike" in one:
            right, least, most = one["accuracy_alike"]
            alike = f"{right:.0%} ({least:.0%} to {most:.0%}; {one['alike']})"
        lines.append(
            f"| {one['set']} | {one['pairs']} ({one['prompts']}) "
            f"| {accuracy:.0%} ({low:.0%} to {high:.0%}) | {one['always_longer']:.0%} "
            f"| {1 - one['always_longer']:.0%} | {alike} |"
        )
    return "\n".join(lines)
