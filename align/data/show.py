"""What a source holds, as trainers will see it: counts, lengths, and rows with what is learnt."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from align.data.gathering import STORED, Wanted, examples_of, gather
from align.data.tokens import columns, fitting, length
from assistant.errors import Invalid
from assistant.feedback.rows import SHAPES, Row

BINS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
BAR = 40
ALL_SHAPES: tuple[Wanted, ...] = (*SHAPES, "text", "prompt")
NAMED = 5
LEARNT, READ = "bold green", "dim"


@dataclass
class Held:
    """The rows of one shape."""

    shape: Wanted
    rows: list[Row]
    left_out: Counter[str]
    lengths: list[int]
    """In tokens, the prompt included."""


@dataclass
class Understood:
    """What was made of a source."""

    source: str
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many rows of each kind and format."""
    broken: list[str] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)

    def as_facts(self) -> dict[str, Any]:
        """What a program may read."""
        return {
            "source": self.source,
            "kinds": [{"kind": k, "format": f, "rows": n} for (k, f), n in self.kinds.items()],
            "broken": self.broken,
            "shapes": {
                held.shape: {
                    "rows": len(held.rows),
                    "left_out": dict(held.left_out),
                    "tokens": sum(held.lengths),
                    "lengths": quantiles(held.lengths),
                }
                for held in self.held
            },
        }


def understood(
    source: str, database: str, tokenizer: Any, learnt: frozenset[str] | None = None
) -> Understood:
    """Read a source; broken rows are listed, and the sound ones shown all the same."""
    found = Understood(source)
    sound = None
    if source not in STORED:
        sound = []
        for place, example in examples_of(source):
            if isinstance(example, Invalid):
                found.broken.append(f"{place}: {example}")
            else:
                found.kinds[example.kind, example.format] += 1
                sound.append((place, example))
    for shape in ALL_SHAPES if sound is not None else SHAPES:
        rows = gather(shape, source, database, learnt, sound)
        if rows.rows:
            fit, refused = fitting(tokenizer, rows.rows, sys.maxsize)
            lengths = [length(tokenizer, row) for row in fit]
            found.held.append(Held(shape, fit, rows.left_out + refused, lengths))
    return found


def quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """The shortest, median, 95th of a hundred, and longest."""
    ordered = sorted(lengths)
    at = {"shortest": 0.0, "median": 0.5, "p95": 0.95, "longest": 1.0}
    return {name: ordered[round(place * (len(ordered) - 1))] for name, place in at.items()}


def show(found: Understood, tokenizer: Any, examples: int, console: Console) -> None:
    """Print it; what a stage learns from a row is green, what it only reads is dim."""
    name = found.source if found.source in STORED else Path(found.source).name
    for (kind, format_), number in found.kinds.most_common():
        console.print(f"{name}: {number} × {kind}, written as {format_}", highlight=False)
    for place in found.broken[:NAMED]:
        console.print(f"broken, {place}", style="red", highlight=False)
    if len(found.broken) > NAMED:
        console.print(f"and {len(found.broken) - NAMED} more broken rows", style="red")
    if not found.held:
        console.print("No row that any stage could learn from.")
    for held in found.held:
        _show_shape(held, console)
        for row in held.rows[:examples]:
            _show_row(row, tokenizer, console)


def _show_shape(held: Held, console: Console) -> None:
    facts = quantiles(held.lengths)
    lengths = ", ".join(f"{name} {tokens}" for name, tokens in facts.items())
    console.rule(f"{held.shape}: {len(held.rows)} rows, {sum(held.lengths)} tokens ({lengths})")
    for reason, number in held.left_out.most_common():
        console.print(f"left out: {number} × {reason}", highlight=False)
    table = Table("tokens", "rows", "", box=None)
    counts = Counter(next((b for b in BINS if n <= b), BINS[-1] * 2) for n in held.lengths)
    most = max(counts.values())
    for bound in sorted(counts):
        label = f"≤ {bound}" if bound in BINS else f"> {BINS[-1]}"
        table.add_row(label, str(counts[bound]), "█" * round(BAR * counts[bound] / most))
    console.print(table)


def _show_row(row: Row, tokenizer: Any, console: Console) -> None:
    made = columns(tokenizer, row)
    if "input_ids" in made:
        learnt = [label != -100 for label in made["labels"]]
        console.print(_coloured(tokenizer, made["input_ids"], learnt), end="\n\n")
        return
    console.print(_coloured(tokenizer, made["prompt_ids"], [False] * len(made["prompt_ids"])))
    for side in ("chosen", "rejected", "completion"):
        if ids := made.get(f"{side}_ids"):
            verdict = {True: "good", False: "bad"}.get(made.get("label", side), side)
            said = _coloured(tokenizer, ids, [True] * len(ids))
            console.print(Text.assemble((f"[{verdict}] ", "bold"), said))
    console.print("")


def _coloured(tokenizer: Any, ids: Sequence[int], learnt: Sequence[bool]) -> Text:
    """Runs of tokens are decoded together: a character may be several tokens."""
    text = Text()
    for is_learnt, run in groupby(zip(ids, learnt, strict=True), key=lambda one: one[1]):
        piece = tokenizer.decode([i for i, _ in run])
        text.append(piece, LEARNT if is_learnt else READ)
    return text
