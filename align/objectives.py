"""Which objectives fit what people gave: corrections, pairs, verdicts on single answers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from align.quality import LOOPS
from assistant.errors import Invalid
from assistant.feedback.rows import UNFINISHED, Row, Rows, Shape

LEAST_CORRECTIONS = 8
LEAST_PAIRS = 20
LEAST_ANSWERS = 10  # of each verdict


@dataclass(frozen=True)
class Chosen:
    """The stages a round will run, in order, with their rows."""

    rows: dict[str, list[Row]]
    given: dict[str, int]
    """Usable rows by kind."""
    left_out: dict[str, Any] = field(default_factory=dict)


def choose(rows: Mapping[Shape, Rows]) -> Chosen:
    """Corrections → SFT; pairs of any origin → DPO; verdicts that made no pair → KTO.

    Such verdicts are thumbs, and both sides of "equally good" and "both are bad".
    """
    pairs = rows["preference"].rows
    paired = {judgement for row in pairs for judgement in row.judgement_ids}
    lone = [r for r in rows["unpaired"].rows if not set(r.judgement_ids) <= paired]
    corrections = [r for r in rows["messages"].rows if r.corrected]
    ups = sum(r.data["label"] for r in lone)
    given = {
        "corrections": len(corrections),
        "pairs": len(pairs),
        "good answers": ups,
        "bad answers": len(lone) - ups,
    }
    chosen: dict[str, list[Row]] = {}
    if len(corrections) >= LEAST_CORRECTIONS:
        chosen["sft"] = corrections
    if len(pairs) >= LEAST_PAIRS:
        chosen["dpo"] = pairs
    if min(ups, len(lone) - ups) >= LEAST_ANSWERS:
        chosen["kto"] = lone
    return Chosen(chosen, given, {shape: dict(found.left_out) for shape, found in rows.items()})


def need(chosen: Chosen) -> None:
    """Raise Invalid, saying how many of which kind are missing, if no objective has enough."""
    if chosen.rows:
        return
    given = chosen.given
    have = ", ".join(f"{number} {kind}" for kind, number in given.items())
    missing = (
        f"{LEAST_PAIRS - given['pairs']} more pairs with a better side, or "
        f"{max(0, LEAST_ANSWERS - given['good answers'])} more answers called good and "
        f"{max(0, LEAST_ANSWERS - given['bad answers'])} more called bad, or "
        f"{LEAST_CORRECTIONS - given['corrections']} more corrections"
    )
    raise Invalid(
        f"Too little to learn from ({have}, with consent). A round needs {missing}."
        f"{_not_learnt(chosen)}"
    )


def _not_learnt(chosen: Chosen) -> str:
    """What people liked and is not learnt all the same: they would wonder."""
    counted = Counter[str]()
    for shape in ("preference", "unpaired"):
        counted.update(chosen.left_out.get(shape, {}))
    found = [f"{counted[why]} × {why}" for why in (UNFINISHED, LOOPS) if counted[why]]
    return f" Left out: {'; '.join(found)}." if found else ""
