"""Knobs that no training could follow, said before anything is read or loaded."""

from math import isfinite

from align.recipes import KTO, Recipe
from assistant.errors import Invalid

LEAST = {
    "epochs": 1,
    "batch": 1,
    "micro_batch": 1,
    "longest": 1,
    "rank": 0,
    "save_every": 0,
    "drift": 0,
    "anchor": 0,
    "imitate": 0,
    "members": 1,
    "center": 0,
    "margin": 0,
    "balance": 1,
    "most": 2,
    "answers": 1,
    "answer_tokens": 1,
    "phase": 1,
    "measured": 1,
}
OVER_ZERO = ("learning_rate", "beta")
BELOW = {"noise": 0.5, "held_out": 1.0}
"""Shares, from 0 to less than this."""


def require_possible(recipe: Recipe) -> None:
    """Raises Invalid for a knob that means nothing, or breaks whoever is told it."""
    for name, value in vars(recipe).items():
        said = f"--{name.replace('_', '-')} {value}"
        if not isinstance(value, int | float):
            continue
        if not isfinite(value):
            raise Invalid(f"{said}: give a number.")
        if name in LEAST and value < LEAST[name]:
            raise Invalid(f"{said}: give {LEAST[name]} or more.")
        if name in OVER_ZERO and value <= 0:
            raise Invalid(f"{said}: give more than 0.")
        if name in BELOW and not 0 <= value < BELOW[name]:
            raise Invalid(f"{said}: give from 0 to less than {BELOW[name]:g}.")
    if isinstance(recipe, KTO) and recipe.batch < 2:
        raise Invalid("--batch 1: give 2 or more, since a batch holds good and bad answers.")
