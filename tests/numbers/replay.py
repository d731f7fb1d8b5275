"""What is forgotten of one person's wishes while another's are learnt, and what replay saves.

Somebody who likes lists teaches the embedded model, then somebody who likes to be addressed teaches
what came of that; the second training goes over some of the first one's pairs again.
"""

import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from align.recipes import DPO
from align.sampling import sample
from align.stages import drop_weights, train
from assistant.feedback.rows import Row
from assistant.version import Version
from tests.loop.people import RULES, person
from tests.loop.questions import questions
from tests.loop.report import interval
from tests.numbers import measuring
from tests.numbers.drawn import SAMPLING, draw, pairs, usable
from tests.numbers.kept import Kept

FIRST, SECOND = "list", "you"
NEW = 100  # questions that the second person judges answers to
SHARES = (0.0, 0.5, 0.2)
SEEDS = (0, 1)


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._home, self._steps = version, home, steps

    def run(self) -> dict[str, Any]:
        """Compliance with both rules before, after the first, and after each second training."""
        stock = self._steps.measure("stock", lambda scratch: self._measured(self._version, scratch))
        found: dict[str, Any] = {"stock": stock, "trainings": []}
        for seed in SEEDS:
            told = self._steps.measure(
                f"first-{seed}", lambda scratch, s=seed: self._after_first(s, scratch)
            )
            if told:
                found["trainings"].append({"seed": seed, "replay": None} | told)
            for share in SHARES:
                told = self._steps.measure(
                    f"second-{seed}-{share:.0%}",
                    lambda scratch, s=seed, r=share: self._after_second(s, r, scratch),
                    recipe=DPO().as_facts(),
                )
                if told:
                    found["trainings"].append({"seed": seed, "replay": share} | told)
        return found

    def _old(self) -> list[Row]:
        """What the first person said of the base's answers."""
        drawings = self._steps.beside("preferences")
        asked = questions("collect")
        drawn = draw(self._version, self._home, drawings, "drawn-collect", asked)
        return usable(pairs(drawn, person(FIRST, 0)))

    def _taught(self, seed: int) -> Version:
        """What came of the first training; another machine trains it anew."""
        name, old = f"taught-{seed}", self._old()

        def work(scratch: Path) -> dict[str, Any]:
            return train("dpo", DPO(), seed, self._version.path, old, scratch)

        self._steps.do(name, work)
        return replace(self._version, folder=str(self._steps.folder / name / "model"))

    def _after_first(self, seed: int, scratch: Path) -> dict[str, Any]:
        return {"rows": len(self._old())} | self._measured(self._taught(seed), scratch)

    def _after_second(self, seed: int, share: float, scratch: Path) -> dict[str, Any]:
        taught, asked = self._taught(seed), questions("collect")[:NEW]
        drawn = draw(taught, self._home, self._steps, f"drawn-second-{seed}", asked)
        rows = mixed(usable(pairs(drawn, person(SECOND, 0))), self._old(), share, seed)
        train("dpo", DPO(), seed, taught.path, rows, scratch)
        made = replace(self._version, folder=str(scratch / "model"))
        told = {"rows": len(rows)} | self._measured(made, scratch)
        drop_weights(made.path)
        return told

    def _measured(self, version: Version, scratch: Path) -> dict[str, Any]:
        answers = sample(version, questions("trial"), SAMPLING, self._home, scratch)
        complies = {}
        for rule in (FIRST, SECOND):
            likes = [float(RULES[rule](answer.text)) for answer in answers]
            complies[rule] = [fmean(likes), *interval(likes)]
        return {
            "complies": complies,
            "tokens": fmean(answer.tokens for answer in answers),
            "ends": fmean(answer.stopped for answer in answers),
            "perplexity": measuring.perplexity(version.path),
        }


def mixed(new: list[Row], old: list[Row], share: float, seed: int) -> list[Row]:
    """The new rows, and so many old ones that they are a share of all, as in a round."""
    wanted = min(len(old), round(len(new) * share / (1 - share)))
    return new + random.Random(seed).sample(old, wanted)


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        f"| seed | learnt | pairs | {FIRST} (95 %) | {SECOND} (95 %) "
        "| tokens | ends | perplexity |",
        "|---|---|---|---|---|---|---|---|",
        _line("–", "nothing", {"rows": 0} | found["stock"]),
    ]
    for one in found["trainings"]:
        second = f"then {SECOND}, {one['replay']:.0%} replayed" if one["replay"] is not None else ""
        lines.append(_line(str(one["seed"]), second or FIRST, one))
    return "\n".join(lines)


def _line(seed: str, learnt: str, told: dict[str, Any]) -> str:
    complies = " | ".join(
        f"{share:.0%} ({low:.0%} to {high:.0%})" for share, low, high in told["complies"].values()
    )
    return (
        f"| {seed} | {learnt} | {told['rows']} | {complies} | {told['tokens']:.0f} "
        f"| {told['ends']:.0%} | {told['perplexity']:.2f} |"
    )
