"""Ways to learn from the same judgements, some of which are wrong.

The embedded model answers each question of the loop twice; somebody who likes lists says which
answer is better. A share of what was said is turned around by the seed, each way learns from it,
and answers questions of other families than those it learnt from. Some learn from the first
hundred judgements alone; others from somebody who likes to be addressed, who finds one answer
better than the other four times as often.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from align.cards import Trained
from align.recipes import DPO, KTO, SFT, Recipe
from align.round import APART
from align.sampling import sample
from align.soup import averaged
from align.stages import drop_weights, train
from assistant.feedback.rows import Row
from assistant.version import Version
from tests.loop.people import Person, person
from tests.loop.questions import questions
from tests.numbers import measuring
from tests.numbers.drawn import (
    SAMPLING,
    Pair,
    draw,
    flipped,
    imitated,
    pairs,
    sides,
    usable,
    verdicts,
    with_ties,
)
from tests.numbers.kept import Kept

LISTS, ADDRESSED = "list", "you"
ALL, FEW = 300, 100  # judgements
FLIPPED = (0.25, 0.1)
SEEDS = (0, 1)


@dataclass(frozen=True)
class Part:
    """A stage, and which rows it learns from."""

    recipe: Recipe
    rows: Callable[[Sequence[Pair], Person], list[Row]]
    shaped: Callable[[Sequence[Row]], list[Row]] = list

    @property
    def stage(self) -> str:
        """By the name of its command."""
        return type(self.recipe).__name__.lower()

    def learnt(self, drawn: Sequence[Pair], judge: Person, share: float, seed: int) -> list[Row]:
        """Its rows, a share of what was said turned around."""
        return self.shaped(usable(flipped(self.rows(drawn, judge), share, seed)))


DECIDED, CORRECTED = Part(DPO(), pairs), Part(SFT(), pairs, imitated)
AVERAGED = "DPO, then KTO, averaged"  # two trainings, as a round does with few rows
ALL_VERDICTS = "KTO, all verdicts"
WAYS: dict[str, tuple[Part, ...]] = {
    "DPO": (DECIDED,),
    AVERAGED: (DECIDED, Part(KTO(), verdicts)),
    "DPO, robust": (Part(DPO(loss="robust"), pairs),),
    "DPO, with ties": (Part(DPO(ties=True), with_ties),),
    "KTO": (Part(KTO(), pairs, sides),),
    "SFT": (CORRECTED,),
    "SFT, then DPO": (CORRECTED, DECIDED),
    ALL_VERDICTS: (Part(KTO(), lambda d, j: verdicts(d, j, of_all=True)),),
}
OFTEN = {
    "DPO": (DECIDED,),
    "DPO, once over": (Part(DPO(epochs=1), pairs),),
}
UNDER_NOISE = ("DPO", "DPO, robust", "DPO, with ties", "KTO")
OF_FEW = ("DPO", AVERAGED, ALL_VERDICTS)


@dataclass(frozen=True)
class Cell:
    """A way to learn, from how many judgements of whom, how many of which are wrong."""

    way: str
    flipped: float
    seed: int
    judged: int = ALL
    rule: str = LISTS

    @property
    def name(self) -> str:
        """Of its file."""
        number = "" if self.judged == ALL else f"{self.judged} "
        of = "" if self.rule == LISTS else f"{self.rule} "
        told = f"{self.way} {of}{number}{self.flipped:.0%} {self.seed}"
        return told.lower().replace(" ", "-").replace(",", "")

    @property
    def judge(self) -> Person:
        """Who judges."""
        return person(self.rule, 0)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The stages, one after the other."""
        return (WAYS | OFTEN)[self.way]


def cells() -> Iterator[Cell]:
    """All of them, what tells most first."""
    for seed in SEEDS:
        yield from (Cell(way, 0.0, seed) for way in WAYS)
        yield from (Cell(way, FLIPPED[0], seed) for way in UNDER_NOISE)
        yield from (Cell(way, 0.0, seed, rule=ADDRESSED) for way in OFTEN)
        yield from (Cell(way, 0.0, seed, judged=FEW) for way in OF_FEW)
        yield from (Cell(way, FLIPPED[1], seed) for way in UNDER_NOISE)


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._home, self._steps = version, home, steps

    def run(self) -> dict[str, Any]:
        """All numbers, or what is left to be found of them."""
        stock = self._steps.measure("stock", lambda scratch: self._stock(scratch))
        found: dict[str, Any] = {"stock": stock, "ways": []}
        for cell in cells():
            told = self._steps.measure(
                cell.name,
                lambda scratch, c=cell: self._cell(c, scratch),
                recipes=[asdict(part.recipe) for part in cell.parts],
            )
            if told:
                found["ways"].append({**asdict(cell), **told})
        return found

    @cached_property
    def _drawn(self) -> list[Pair]:
        """What judgements are about."""
        return self._answered("collect", questions("collect"))

    @cached_property
    def _unseen(self) -> list[Pair]:
        """What is asked in the end."""
        return self._answered("trial", questions("trial"))

    def _answered(self, purpose: str, asked: list[str]) -> list[Pair]:
        return draw(self._version, self._home, self._steps, f"drawn-{purpose}", asked)

    def _stock(self, scratch: Path) -> dict[str, Any]:
        return {
            "instructions": measuring.instructions(self._version, self._home, scratch),
            "perplexity": measuring.perplexity(self._version.path),
        }

    def _cell(self, cell: Cell, scratch: Path) -> dict[str, Any]:
        averages = cell.way == AVERAGED
        trainings = [self._trained(cell, number, scratch) for number in range(2 if averages else 1)]
        made = trainings[0][-1].model
        if averages:
            made = scratch / "average"
            averaged(self._version.path, [[o.adapter for o in t] for t in trainings], made)
        told = self._measured(made, cell.judge, scratch)
        for folder in (made, *(one.model for one in chain(*trainings))):
            drop_weights(folder)
        return {"rows": [one.story["rows"] for one in trainings[0]], **told}

    def _trained(self, cell: Cell, number: int, scratch: Path) -> list[Trained]:
        """One stage after the other; what was said is turned around alike in every training."""
        drawn, made = self._drawn[: cell.judged], list[Trained]()
        for part in cell.parts:
            said = part.learnt(drawn, cell.judge, cell.flipped, cell.seed)
            place = scratch / f"{part.stage}-{number}"
            place.mkdir(exist_ok=True)
            base = made[-1].model if made else self._version.path
            story = train(part.stage, part.recipe, cell.seed + number * APART, base, said, place)
            made.append(Trained(place / "model", story))
        return made

    def _measured(self, folder: Path, judge: Person, scratch: Path) -> dict[str, Any]:
        made, unseen = replace(self._version, folder=str(folder)), self._unseen
        asked = [pair.question for pair in unseen]
        answers = sample(made, asked, SAMPLING, self._home, scratch)
        before = [pair.answers[0] for pair in unseen]
        judged = usable(pairs(unseen, judge))
        return {
            **measuring.against(before, answers, judge),
            "held_out": measuring.held_out(self._version.path, folder, judged),
            "instructions": measuring.instructions(made, self._home, scratch),
            "perplexity": measuring.perplexity(folder),
        }


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    stock = found["stock"]
    strict = stock["instructions"]["strict"][0]
    lines = [
        f"Stock: IFEval {strict:.1%} (strict, by prompt), perplexity {stock['perplexity']:.2f}.",
        "",
        "| way | likes | judgements | turned around | seed | rows | win rate (95 %) | complies "
        "| tokens | ends | held-out pairs | better side | IFEval | perplexity |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_line(cell, stock) for cell in found["ways"]])


def _line(cell: dict[str, Any], stock: dict[str, Any]) -> str:
    pairs_right, follows = cell["held_out"]["accuracy"], cell["instructions"]["strict"]
    cells = (
        cell["way"],
        {LISTS: "lists", ADDRESSED: "to be addressed"}[cell["rule"]],
        str(cell["judged"]),
        f"{cell['flipped']:.0%}",
        str(cell["seed"]),
        " + ".join(map(str, cell["rows"])),
        f"{cell['win_rate']:.1%} ({cell['low']:.1%} to {cell['high']:.1%})",
        f"{cell['complies']:.0%}",
        f"{cell['tokens']:.0f}",
        f"{cell['ends']:.0%}",
        f"{pairs_right[0]:.0%} ({pairs_right[1]:.0%} to {pairs_right[2]:.0%})",
        f"{cell['held_out']['chosen_nats']:+.1f} nats",
        f"{follows[0]:.1%} ({follows[1]:.1%} to {follows[2]:.1%})",
        f"{cell['perplexity'] / stock['perplexity'] - 1:+.1%}",
    )
    return "| " + " | ".join(cells) + " |"
