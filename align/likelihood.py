"""How likely judgements are under a difference of scores: better, worse, or neither."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from assistant.errors import Invalid


def share_of_ties(rows: Sequence[Mapping[str, Any]]) -> float:
    """Of token rows. Raises Invalid where all are ties, since nothing is better then."""
    tied = sum(bool(row.get("tie")) for row in rows)
    if tied == len(rows):
        raise Invalid(f"All {tied} pairs are ties; nothing is learnt without a better side.")
    return tied / len(rows)


def tie_width(tied: float) -> float:
    """α of Rao & Kupper (1967) for which two equal answers tie as often as people said: ln θ.

    `tied` is the share of ties. At no difference a tie has the probability (θ - 1) / (θ + 1).
    """
    return math.log((1 + tied) / (1 - tied))


def surprise(difference: torch.Tensor, tie: torch.Tensor, width: float) -> torch.Tensor:
    """Negative log-likelihood of each judgement by Rao & Kupper (1967), in nats, (pairs,).

    `difference` is the better answer's score minus the worse one's; `tie` tells where neither was
    better, and the order means nothing. At width 0 it is Bradley and Terry's, without ties.
    """
    better = logsigmoid(difference - width)
    if width == 0:
        return -better
    either = better + logsigmoid(-difference - width) + math.log(math.expm1(2 * width))
    return -torch.where(tie, either, better)
