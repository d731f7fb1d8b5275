"""What a stage learns from: its sources read, cleaned, mixed."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from align.data.gathering import FEEDBACK, Source, Wanted, gather
from align.data.mixture import Part, mixed
from align.data.tokens import fitting, length
from align.quality import without_loops
from assistant.errors import Invalid
from assistant.feedback.rows import Row

Measure = Literal["rows", "tokens"]


@dataclass(frozen=True)
class Epoch:
    """The rows of one epoch, where they come from, and what was left out."""

    rows: list[Row]
    parts: list[Part] = field(default_factory=list)
    """What each source gives, if shares were asked for."""
    left_out: Counter[str] = field(default_factory=Counter)


def assembled(
    shape: Wanted,
    sources: Sequence[str],
    database: str,
    tokenizer: Any = None,
    seed: int = 0,
    measure: Measure = "rows",
    total: int | None = None,
    learnt: frozenset[str] | None = None,
    longest: int | None = None,
) -> Epoch:
    """All rows of the sources or, where they have weights, an epoch with those shares.

    `learnt` are the judgements that the base has learnt from. Shares are of the rows that can be
    learnt, which are no longer than `longest` tokens. Raises Invalid where only some have a weight,
    a source is named twice, or there is nothing that a measure or a total could be of.
    """
    asked = [Source.of(said) for said in sources or (FEEDBACK,)]
    names = [source.name for source in asked]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise Invalid(f"--data names {twice[0]} twice; once, with a larger weight, is enough.")
    weights = {source.name: source.weight for source in asked if source.weight is not None}
    if weights and len(weights) < len(asked):
        bare = next(source.name for source in asked if source.weight is None)
        raise Invalid(f"--data {bare} has no weight but others have; write {bare}:WEIGHT.")
    found = {name: without_loops(gather(shape, name, database, learnt)) for name in names}
    left_out = sum((rows.left_out for rows in found.values()), Counter[str]())
    if not weights and (total is not None or measure != "rows"):
        raise Invalid("--total and --mix are of shares; give every --data its own: NAME:WEIGHT.")
    if not weights:
        return Epoch([row for rows in found.values() for row in rows.rows], [], left_out)
    size: Callable[[Row], int] = {
        "rows": lambda _: 1,
        "tokens": lambda row: length(tokenizer, row),
    }[measure]
    by_source = {}
    for name, one in found.items():
        by_source[name], unfit = fitting(tokenizer, one.rows, longest)
        left_out += unfit
    rows, parts = mixed(by_source, weights, size, seed, total)
    return Epoch(rows, parts, left_out)
