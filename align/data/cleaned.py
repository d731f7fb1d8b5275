"""A source, cleaned, as files: the sound rows, those held out, and a report."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.data.cleaning import SAMPLES, Choice, Step, as_facts, cleaned
from align.data.contamination import Evaluation, shipped_questions
from align.data.files import noted
from align.data.gathering import STORED, Wanted, examples_of, gather, split
from align.data.texts import prompt_of
from assistant.disk import write_synced
from assistant.errors import Invalid
from assistant.feedback.formats import Example
from assistant.feedback.rows import Row

STAGES = {"messages": "sft", "preference": "dpo", "unpaired": "kto", "text": "pretrain"}
HELD_OUT = "held-out"


@dataclass(frozen=True)
class Report:
    """What cleaning did to a source."""

    source: str
    shape: Wanted
    written: int
    held_out: int
    left_out: Counter[str]
    """Before any step: what people's choices or the shape left out."""
    steps: Sequence[Step]

    @property
    def stage(self) -> str:
        """The stage that learns from this shape."""
        return STAGES[self.shape]

    def as_facts(self) -> dict[str, Any]:
        """The counts, without any text."""
        return vars(self) | {"left_out": dict(self.left_out), "steps": as_facts(self.steps)}

    def lines(self) -> Iterator[str]:
        """The steps for people, with samples of what went."""
        for reason, number in self.left_out.items():
            yield f"  {number:6} × {reason}"
        for step in self.steps:
            changed = f", {step.changed} changed" if step.changed else ""
            yield f"{step.name:16} {step.before:6} → {step.after:6}{changed}"
            yield from (f"  {n:6} × {reason}" for reason, n in step.reasons.most_common())
            yield from (f"         {' '.join(text.split())[:90]}" for _, text in step.samples)
        apart = f", {self.held_out} held out" if self.held_out else ""
        yield f"{self.written} rows written{apart}"


def write_cleaned(
    source: str,
    out: Path,
    shape: Wanted,
    database: str,
    choice: Choice,
    against: Sequence[Path],
    held_out: float,
    seed: int,
) -> Report:
    """Clean the rows of one shape and write `out`, its held-out rows and its report beside it.

    Rows that are not understood are the first step. Raises Invalid for a source without a row of
    the shape, or a file that cannot be written so.
    """
    if out.suffix != ".jsonl":
        raise Invalid(f"{out.name} should end in .jsonl, since that is what is written.")
    if not 0 <= held_out < 1:
        raise Invalid("--held-out is a share of the conversations: from 0 to less than 1.")
    sound, broken = _understood(source)
    found = gather(shape, source, database, examples=sound)
    if not found.rows:
        why = ", ".join(f"{n} × {reason}" for reason, n in found.left_out.items())
        raise Invalid(f"{source} has no row of the shape {shape} ({why or 'it is empty'}).")
    questions = [*shipped_questions(), *(q for file in against for q in _questions(file))]
    rows, steps = cleaned(found.rows, choice, Evaluation(questions))
    learn, apart = split(rows, held_out, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_synced(out, _lines(learn))
    if apart:
        write_synced(out.with_suffix(f".{HELD_OUT}.jsonl"), _lines(apart))
    report = Report(source, shape, len(learn), len(apart), found.left_out, [*broken, *steps])
    facts = json.dumps(report.as_facts(), indent=2, ensure_ascii=False)
    write_synced(out.with_suffix(".report.json"), facts)
    return report


def _understood(source: str) -> tuple[list[tuple[str, Example]] | None, list[Step]]:
    """The examples of a file, folder or hub name that are understood, and what others lack.

    What people said here is none of these, and always is.
    """
    if source in STORED:
        return None, []
    placed = list(examples_of(source))
    sound = [(place, one) for place, one in placed if isinstance(one, Example)]
    broken = [(str(one), place) for place, one in placed if not isinstance(one, Example)]
    reasons = Counter(why for why, _ in broken)
    return sound, [Step("understood", len(placed), len(sound), reasons, broken[:SAMPLES])]


def _questions(file: Path) -> Iterator[str]:
    """The last question of each row; of a plain text, each of its lines."""
    for place, example in examples_of(str(file)):
        if isinstance(example, Invalid):
            raise Invalid(
                f"--against {file}, {place}: {example}; give what is asked there as `prompt`, or "
                "as lines of plain text."
            )
        if example.kind == "text":
            yield from example.text.splitlines()
        else:
            yield prompt_of(Row({"prompt": example.prompt[-1:]}, "", ()))


def _lines(rows: Sequence[Row]) -> str:
    lines = (json.dumps(noted(row), ensure_ascii=False, default=str) for row in rows)
    return "".join(line + "\n" for line in lines)
