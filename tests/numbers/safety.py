"""What `align safety` brings on both halves, with and without pairs that people judged.

The embedded model learns from the shipped requests, alone and beside pairs of hh-rlhf's harmless
part; XSTest, which is of other hands, is only asked about. What it costs elsewhere is measured,
and the classifiers are compared on the same requests.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align.recipes import Job, Safety
from align.safety.making import make
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.e2e.product import ROOT
from tests.numbers import measuring
from tests.numbers.kept import Kept
from tests.numbers.learning import some

DATA = ROOT.parent / "shared/data"
PAIRS = DATA / "preference/hh_harmless.train.jsonl"
XSTEST = DATA / "eval/xstest.dev.jsonl"
HARMLESS = (
    *("sft/gpteacher_roleplay.train.jsonl", "preference/ultrafeedback.train.jsonl.gz"),
    *("sft/self_instruct_seeds.train.jsonl", "sft/oasst_en100.train.jsonl"),
)
GIVEN = (0, 300)  # pairs that people judged, besides those of its own answers
SEEDS = (0, 1, 2)


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._home, self._steps = version, home, steps

    def run(self) -> dict[str, Any]:
        """Both halves before and after, by pairs given and seed."""
        found: dict[str, Any] = {
            "stock": self._steps.measure(
                "stock", lambda scratch: self._cost(self._version, scratch)
            ),
            "made": [],
        }
        for seed in SEEDS:
            for given in GIVEN:
                told = self._steps.measure(
                    f"given-{given}-seed-{seed}",
                    lambda scratch, g=given, s=seed: self._made(g, s, scratch),
                )
                if told:
                    found["made"].append({"given": given, "seed": seed, **told})
        return found

    def _made(self, given: int, seed: int, scratch: Path) -> dict[str, Any]:
        data = (str(some(PAIRS, given, seed, scratch / "pairs.jsonl")),) if given else ()
        harmless = tuple(str(DATA / name) for name in HARMLESS) if given else ()
        recipe = Safety(
            examine=(str(XSTEST),), harmful=(str(PAIRS),) if given else (), harmless=harmless
        )
        settings = Settings(home=self._home)
        name = f"safety-{given}-{seed}"
        registry = Registry(self._home)
        job = Job(base=self._version.name, data=data, name=name, seed=seed)
        if not registry.has(name):
            make(job, recipe, settings, lambda line: print(line, flush=True))
        version = registry.get(name)
        story = json.loads((version.path / "made/training.json").read_text(encoding="utf-8"))
        stage = story["stages"][0]
        return {
            "rows": stage["rows"],
            "left_out": stage["left_out"],
            "halves": stage["metrics"]["halves"],
            "classifier": registry.get(f"{name}-moderation").facts["measured"],
            **self._cost(version, scratch),
        }

    def _cost(self, version: Version, scratch: Path) -> dict[str, Any]:
        return {
            "perplexity": measuring.perplexity(version.path),
            "instructions": measuring.instructions(version, self._home, scratch),
        }


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        "| pairs given, seed | rows | test | harmful refused | harmless refused "
        "| harmful flagged | harmless flagged | perplexity | IFEval, loose |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found["made"]:
        for test, halves in one["halves"].items():
            flagged = one["classifier"][test]
            cells = [
                f"{one['given']}, {one['seed']}",
                str(one["rows"]),
                test.removesuffix(".dev.jsonl"),
                *(_refused(halves[half]) for half in ("harmful", "harmless")),
                *(_flagged(flagged[half]) for half in ("harmful", "harmless")),
                *_cost_cells(found["stock"], one),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _refused(half: dict[str, Any]) -> str:
    after = f"{half['refused_after']:.0%} ({half['low']:.0%} to {half['high']:.0%})"
    return f"{half['refused_before']:.0%} → {after}"


def _flagged(half: dict[str, Any]) -> str:
    return f"{half['flagged']:.0%} ({half['low']:.0%} to {half['high']:.0%})"


def _cost_cells(stock: dict[str, Any], one: dict[str, Any]) -> Sequence[str]:
    loose = [f"{told['instructions']['loose'][0]:.0%}" for told in (stock, one)]
    return (
        f"{stock['perplexity']:.2f} → {one['perplexity']:.2f}",
        f"{loose[0]} → {loose[1]}",
    )
