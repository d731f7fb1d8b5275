"""What several people said of the same two answers: one row, which counts as far as they agree."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from assistant.feedback.rows import Row


def agreed(rows: Sequence[Row]) -> list[Row]:
    """Preferences, each two answers once, the better side that of the majority.

    The weight is (for - against) / all; where as many said one as the other, the row is a tie.
    Ties that somebody stated count among all. The order is that of the first vote on each.
    """
    votes: dict[str, list[Row]] = {}
    for row in rows:
        votes.setdefault(_both_sides(row), []).append(row)
    return [_one(said) if len(said) > 1 else said[0] for said in votes.values()]


def raters_agree(rows: Sequence[Row]) -> tuple[int, int]:
    """Of two votes on the same two answers, how many say the same, and how many there are.

    Ties agree with nothing that a scorer of pairs could say, and are left out.
    """
    votes: dict[str, list[str]] = {}
    for row in rows:
        if not row.data.get("tie"):
            votes.setdefault(_both_sides(row), []).append(_better(row))
    same = both = 0
    for said in votes.values():
        for one, other in combinations(said, 2):
            same += one == other
            both += 1
    return same, both


def _one(said: Sequence[Row]) -> Row:
    first = said[0]
    decided = [row for row in said if not row.data.get("tie")]
    better = sum(_better(row) == _better(first) for row in decided)
    margin = 2 * better - len(decided)
    judgements = tuple(dict.fromkeys(j for row in said for j in row.judgement_ids))
    data = {name: value for name, value in first.data.items() if name != "tie"}
    if margin < 0:
        data |= {"chosen": data["rejected"], "rejected": data["chosen"]}
    if margin == 0:
        data |= {"tie": True}
    weight = abs(margin) / len(said) if margin else 1.0
    cut = _sides_cut(first, swapped=margin < 0)
    return replace(first, data=data, judgement_ids=judgements, weight=weight, unfinished=cut)


def _sides_cut(row: Row, swapped: bool) -> tuple[str, ...]:
    other = {"chosen": "rejected", "rejected": "chosen"}
    return tuple(other[side] for side in row.unfinished) if swapped else row.unfinished


def _better(row: Row) -> str:
    return _text(row.data["chosen"])


def _both_sides(row: Row) -> str:
    sides = sorted((_text(row.data["chosen"]), _text(row.data["rejected"])))
    return json.dumps([row.data["prompt"], *sides], sort_keys=True)


def _text(side: Any) -> str:
    return json.dumps(side, sort_keys=True)
