"""Answers of the embedded model, judged by somebody with a rule, as rows to learn from."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from align.quality import runs_in_circles
from align.sampling import Sampled, sample
from assistant.feedback.rows import Row
from assistant.version import Version
from tests.loop.people import Person
from tests.loop.questions import frozen
from tests.numbers.kept import Kept

SAMPLING = {"max_tokens": 512, "temperature": 0.8}
OTHER = {"chosen": "rejected", "rejected": "chosen"}


@dataclass(frozen=True)
class Pair:
    """A question and two answers to it."""

    question: str
    answers: tuple[Sampled, Sampled]

    def choice(self, judge: Person) -> str:
        """What somebody says of them."""
        return judge.choice(*(answer.text for answer in self.answers))


def draw(version: Version, home: Path, steps: Kept, name: str, asked: list[str]) -> list[Pair]:
    """A version answers each question twice; all machines learn from the same answers."""

    def work(scratch: Path) -> dict[str, Any]:
        answers = sample(version, asked * 2, SAMPLING, home, scratch)
        return {"answers": [asdict(answer) for answer in answers]}

    told = steps.keep(name, work, questions=frozen(asked))["answers"]
    answers = [Sampled(**answer) for answer in told]
    both = zip(answers[: len(asked)], answers[len(asked) :], strict=True)
    return [Pair(question, two) for question, two in zip(asked, both, strict=True)]


def pairs(drawn: Sequence[Pair], judge: Person, tied: bool = False) -> list[Row]:
    """Those with a better side, it first; if wanted, the others, too, as ties."""
    rows = []
    for number, pair in enumerate(drawn):
        choice = pair.choice(judge)
        tie = choice in ("tie", "both_bad")
        if tied or not tie:
            better, worse = reversed(pair.answers) if choice == "second" else pair.answers
            sides = {"chosen": better, "rejected": worse}
            rows.append(_row(pair.question, sides, {"tie": tie} if tied else {}, number))
    return rows


def with_ties(drawn: Sequence[Pair], judge: Person) -> list[Row]:
    """The pairs with a better side, and as many of the others as ties: all would be nine in ten."""
    decided, tied = [], []
    for row in usable(pairs(drawn, judge, tied=True)):
        (tied if row.data["tie"] else decided).append(row)
    return decided + random.Random(0).sample(tied, min(len(tied), len(decided)))


def verdicts(drawn: Sequence[Pair], judge: Person, of_all: bool = False) -> list[Row]:
    """Each answer as good or bad: of the pairs without a better side, or of all."""
    return [
        _row(pair.question, {"completion": answer}, {"label": judge.rule(answer.text)}, number)
        for number, pair in enumerate(drawn)
        if of_all or pair.choice(judge) in ("tie", "both_bad")
        for answer in pair.answers
    ]


def sides(rows: Sequence[Row]) -> list[Row]:
    """Both sides of each pair, as a good and a bad answer."""
    return [
        replace(
            row,
            data={"prompt": row.data["prompt"], "completion": row.data[side], "label": label},
            unfinished=("completion",) if side in row.unfinished else (),
        )
        for row in rows
        for side, label in (("chosen", True), ("rejected", False))
    ]


def imitated(rows: Sequence[Row]) -> list[Row]:
    """The better sides of pairs alone, as conversations: what a correction says, too."""
    return [
        replace(row, data={"messages": row.data["prompt"] + row.data["chosen"]}, unfinished=())
        for row in rows
    ]


def flipped(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """The rows, so many of them, drawn by the seed, with the opposite judgement; ties stay ties."""
    judged = [place for place, row in enumerate(rows) if not row.data.get("tie")]
    wrong = set(random.Random(seed).sample(judged, round(share * len(judged))))
    return [_turned(row) if place in wrong else row for place, row in enumerate(rows)]


def usable(rows: Sequence[Row]) -> list[Row]:
    """What a round would learn: no good answer that was cut off or runs in circles."""
    return [
        row
        for row in rows
        if row.data.get("tie") or not (_good_is_cut(row) or runs_in_circles(row))
    ]


def _good_is_cut(row: Row) -> bool:
    return ("completion" if row.data.get("label") else "chosen") in row.unfinished


def _turned(row: Row) -> Row:
    if "label" in row.data:
        return replace(row, data=row.data | {"label": not row.data["label"]})
    data = row.data | {side: row.data[other] for side, other in OTHER.items()}
    return replace(row, data=data, unfinished=tuple(OTHER[side] for side in row.unfinished))


def _row(question: str, sides: dict[str, Sampled], more: dict[str, Any], number: int) -> Row:
    said = {side: [{"role": "assistant", "content": answer.text}] for side, answer in sides.items()}
    return Row(
        {"prompt": [{"role": "user", "content": question}], **said, **more},
        f"conversation-{number}",
        (f"judgement-{number}",),
        tuple(side for side, answer in sides.items() if not answer.stopped),
        temperature=SAMPLING["temperature"],
    )
