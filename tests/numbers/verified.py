"""What rewards of a rule bring on unseen tasks of the same family, of another, and elsewhere.

Of each family some tasks are learnt by RLOO with `align rlhf`'s recipe, some tell; the share of
right answers is of several drawn ones to each task, its interval by bootstrap over tasks.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from align.recipes import RLHF
from align.rl.rewards import Answered, rewards_of
from align.sampling import sample
from align.stages import drop_weights
from assistant.registry import Registry
from assistant.version import Version
from tests.loop.report import interval
from tests.numbers import measuring
from tests.numbers.kept import Kept
from tests.numbers.learning import rewarded
from tests.numbers.tasks import FAMILIES, Family

LEARNT, UNSEEN, EACH = 160, 80, 4
RECIPE = RLHF(epochs=2, answers=8, phase=32, answer_tokens=64)
SEEDS = (0, 1, 2)
DRAWN = {"max_tokens": RECIPE.answer_tokens, "temperature": 1.0}


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._home, self._steps = version, home, steps

    def run(self) -> dict[str, Any]:
        """All numbers, or what is left to be found of them."""
        stock = self._steps.measure("stock", lambda scratch: self._measured(self._version, scratch))
        found: dict[str, Any] = {"stock": stock, "trainings": []}
        for seed in SEEDS:
            for family in FAMILIES:
                told = self._steps.measure(
                    f"{family.name}-{seed}",
                    lambda scratch, f=family, s=seed: self._trained(f, s, scratch),
                    recipe=RECIPE.as_facts(),
                )
                if told:
                    found["trainings"].append({"family": family.name, "seed": seed} | told)
        return found

    def _trained(self, family: Family, seed: int, scratch: Path) -> dict[str, Any]:
        began = time.monotonic()
        tasks = family.split(LEARNT, 0)[0]
        recipe = replace(RECIPE, reward=(family.reward,))
        made, story = rewarded(self._version, self._home, recipe, seed, tasks, scratch)
        minutes = (time.monotonic() - began) / 60
        told = self._measured(made, scratch)
        drop_weights(made.path)
        return {"minutes": minutes, "training": story["metrics"], **told}

    def _measured(self, version: Version, scratch: Path) -> dict[str, Any]:
        return {
            "right": {family.name: self._right(family, version, scratch) for family in FAMILIES},
            "instructions": measuring.instructions(version, self._home, scratch),
            "perplexity": measuring.perplexity(version.path),
        }

    def _right(self, family: Family, version: Version, scratch: Path) -> dict[str, Any]:
        """Of answers to unseen tasks: the share that is right (95 %), and their tokens."""
        tasks = family.split(0, UNSEEN)[1]
        answers = sample(
            version, [task["prompt"] for task in tasks] * EACH, DRAWN, self._home, scratch
        )
        rewards = rewards_of([family.reward], Registry(self._home))
        given = rewards.by(
            rewards.named[0],
            [
                Answered([{"role": "user", "content": task["prompt"]}], task, a.text, a.tokens)
                for task, a in zip(tasks * EACH, answers, strict=True)
            ],
        )
        assert None not in given, rewards.failed
        shares = [fmean(given[place :: len(tasks)]) for place in range(len(tasks))]
        return {
            "share": [fmean(shares), *interval(shares)],
            "tokens": fmean(answer.tokens for answer in answers),
        }


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        "| learnt | seed | minutes | sums right (95 %) | instructions followed (95 %) "
        "| tokens of these | IFEval, strict | perplexity |",
        "|---|---|---|---|---|---|---|---|",
        _line("nothing", "–", "–", found["stock"]),
    ]
    for one in found["trainings"]:
        lines.append(_line(one["family"], str(one["seed"]), f"{one['minutes']:.1f}", one))
    return "\n".join(lines)


def _line(learnt: str, seed: str, minutes: str, told: dict[str, Any]) -> str:
    right, follows = told["right"], told["instructions"]["strict"]
    cells = (
        *(learnt, seed, minutes),
        *(shown(right[family.name]["share"]) for family in FAMILIES),
        ", ".join(f"{right[family.name]['tokens']:.0f}" for family in FAMILIES),
        shown(follows),
        f"{told['perplexity']:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def shown(share: Sequence[float]) -> str:
    value, low, high = share
    return f"{value:.1%} ({low:.1%} to {high:.1%})"
