"""Judgements by the hundred: whether to learn from new ones once, or from fewer again and again.

The embedded model learns by DPO from pairs that people judged (hh-rlhf's harmless part). Some see
many pairs once, some a third of them three times, which takes as long. Pairs of other prompts tell
what was learnt; each is a prompt of its own.
"""

import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from align.data.gathering import gather
from align.recipes import DPO
from align.stages import drop_weights, train
from assistant.version import Version
from tests.numbers import measuring
from tests.numbers.kept import Kept
from tests.numbers.rewards import DATA

PAIRS, UNSEEN = DATA / "hh_harmless.train.jsonl", DATA / "hh_harmless.dev.jsonl"
SEEDS = (0, 1)


@dataclass(frozen=True)
class Cell:
    """So many pairs, each seen so often."""

    rows: int
    epochs: int
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.rows}-rows-{self.epochs}-times-seed-{self.seed}"


CELLS = [Cell(*size, seed) for seed in SEEDS for size in ((600, 1), (200, 3), (200, 1), (60, 3))]


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._home, self._steps = version, home, steps

    def run(self) -> dict[str, Any]:
        """All numbers, or what is left to be found of them."""
        found: dict[str, Any] = {"trainings": []}
        for cell in CELLS:
            recipe = DPO(epochs=cell.epochs)
            told = self._steps.measure(
                cell.name,
                lambda scratch, c=cell, r=recipe: self._trained(c, r, scratch),
                recipe=asdict(recipe),
            )
            if told:
                found["trainings"].append({**asdict(cell), **told})
        return found

    def _trained(self, cell: Cell, recipe: DPO, scratch: Path) -> dict[str, Any]:
        every = gather("preference", str(PAIRS), "").rows
        rows = random.Random(cell.seed).sample(every, max(c.rows for c in CELLS))[: cell.rows]
        began = time.monotonic()
        story = train("dpo", recipe, cell.seed, self._version.path, rows, scratch)
        minutes, folder = (time.monotonic() - began) / 60, scratch / "model"
        told = {
            "minutes": minutes,
            "learnt": story["rows"],
            "held_out": self._held_out(folder),
            "perplexity": measuring.perplexity(folder),
        }
        drop_weights(folder)
        return told

    def _held_out(self, folder: Path) -> dict[str, Any]:
        rows = gather("preference", str(UNSEEN), "").rows
        return measuring.held_out(self._version.path, folder, rows)


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        "| pairs | times | seed | minutes | unseen pairs ranked right (95 %) | better side "
        "| perplexity |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found["trainings"]:
        right, low, high = one["held_out"]["accuracy"]
        lines.append(
            f"| {one['learnt']} | {one['epochs']} | {one['seed']} | {one['minutes']:.0f} "
            f"| {right:.0%} ({low:.0%} to {high:.0%}) | {one['held_out']['chosen_nats']:+.1f} nats "
            f"| {one['perplexity']:.2f} |"
        )
    return "\n".join(lines)
