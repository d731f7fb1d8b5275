"""What one epoch holds: how much of each source, exactly, and what the seed draws from it."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from assistant.errors import Invalid
from assistant.feedback.rows import Row

Size = Callable[[Row], int]


@dataclass(frozen=True)
class Part:
    """One source's part of an epoch."""

    source: str
    rows: int
    size: int
    """In rows or tokens, as the mixture is measured."""
    share: float
    """Of the epoch's size."""
    seen: float
    """How often an average row of the source is seen."""


def mixed(
    sources: Mapping[str, Sequence[Row]],
    weights: Mapping[str, float],
    size: Size,
    seed: int,
    total: int | None = None,
) -> tuple[list[Row], list[Part]]:
    """Draw an epoch in which each source has its share of the size, and the table of what it holds.

    Without `total` the epoch is as large as it can be with no row seen twice. With it, a source
    that is too small is gone through again, in another order. Counted in rows the shares are exact
    to the row; in tokens, to one row of each source. Raises Invalid for a source without rows.
    """
    if empty := [name for name, rows in sources.items() if not rows]:
        raise Invalid(f"The mixture names sources without a usable row: {', '.join(empty)}.")
    whole = sum(weights.values())
    there = {name: sum(map(size, rows)) for name, rows in sources.items()}
    if total is None:
        total = int(min(there[name] * whole / weights[name] for name in sources))
    wanted = _apportioned({name: total * weights[name] / whole for name in sources})
    drawn, parts = [], []
    for name, rows in sources.items():
        found = _drawn(rows, wanted[name], size, random.Random(f"{seed} {name}"))
        drawn += found
        got = sum(map(size, found))
        parts.append((name, len(found), got, len(found) / len(rows)))
    all_of_it = sum(got for _, _, got, _ in parts) or 1
    random.Random(seed).shuffle(drawn)
    return drawn, [Part(n, rows, got, got / all_of_it, seen) for n, rows, got, seen in parts]


def _apportioned(exact: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers with the same sum; the largest remainders are rounded up."""
    floors = {name: int(value) for name, value in exact.items()}
    missing = round(sum(exact.values())) - sum(floors.values())
    for name in sorted(exact, key=lambda name: floors[name] - exact[name])[:missing]:
        floors[name] += 1
    return floors


def _drawn(rows: Sequence[Row], wanted: int, size: Size, dice: random.Random) -> list[Row]:
    """Rows in random order until their size is as near to what is wanted as it gets."""
    found: list[Row] = []
    got = 0
    for row in _round_and_round(rows, dice):
        more = size(row)
        if abs(got + more - wanted) > abs(got - wanted):
            return found
        found.append(row)
        got += more
    return found


def _round_and_round(rows: Sequence[Row], dice: random.Random) -> Iterator[Row]:
    while True:
        yield from dice.sample(rows, len(rows))


def balanced(
    rows: Sequence[Row], most_for_one: int, most: int, seed: int
) -> tuple[Sequence[Row], Counter[str]]:
    """Rows with a label, drawn by the seed: so many of one verdict for each of the other at most.

    A model that is told nearly always what not to say, and next to nothing to say instead, ends up
    saying nothing sensible. Of more than `most` rows in all the rarer verdict gives up to a half.
    Raises Invalid where all verdicts are the same.
    """
    kinds = [[row for row in rows if row.data["label"] is label] for label in (True, False)]
    rarer, commoner = sorted(kinds, key=len)
    if rows and not rarer:
        verdict = "good" if kinds[0] else "bad"
        raise Invalid(f"All {len(rows)} answers are called {verdict}; KTO compares good and bad.")
    few = min(len(rarer), max(most // 2, most - len(commoner)))
    many = min(len(commoner), most_for_one * few, most - few)
    dice = random.Random(seed)
    kept = {id(row) for kind, n in ((rarer, few), (commoner, many)) for row in dice.sample(kind, n)}
    surplus = len(rows) - len(kept)
    why = f"more than {most_for_one} of one verdict for each of the other, or {most} in all"
    return [row for row in rows if id(row) in kept], Counter({why: surplus} if surplus else {})
