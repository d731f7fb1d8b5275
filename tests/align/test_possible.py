"""Knobs that no training could follow are refused before anything is read."""

from typing import Any

import pytest

from align.possible import require_possible
from align.recipes import DPO, KTO, RLHF, SFT, Pretrain, Recipe, Reward, Safety
from assistant.errors import Invalid


@pytest.mark.parametrize("recipe", [SFT(), DPO(), KTO(), Reward(), RLHF(), Pretrain(), Safety()])
def test_defaults_are_possible(recipe: Recipe):
    require_possible(recipe)


@pytest.mark.parametrize(
    ("stage", "knobs", "words"),
    [
        (SFT, {"batch": 0}, "--batch 0: give 1 or more"),
        (SFT, {"micro_batch": 0}, "--micro-batch 0: give 1 or more"),
        (SFT, {"epochs": 0}, "--epochs 0: give 1 or more"),
        (SFT, {"rank": -1}, "--rank -1: give 0 or more"),
        (SFT, {"learning_rate": -1e-4}, "--learning-rate -0.0001: give more than 0"),
        (SFT, {"learning_rate": float("nan")}, "--learning-rate nan: give a number"),
        (DPO, {"noise": 0.5}, "--noise 0.5: give from 0 to less than 0.5"),
        (DPO, {"beta": 0.0}, "--beta 0.0: give more than 0"),
        (KTO, {"balance": 0}, "--balance 0: give 1 or more"),
        (KTO, {"most": 0}, "--most 0: give 2 or more"),
        (KTO, {"batch": 1}, "a batch holds good and bad answers"),
        (Reward, {"members": 0}, "--members 0: give 1 or more"),
        (Reward, {"held_out": -0.1}, "--held-out -0.1: give from 0 to less than 1"),
        (Safety, {"answers": 0}, "--answers 0: give 1 or more"),
    ],
)
def test_what_means_nothing_is_said(stage: type, knobs: dict[str, Any], words: str):
    with pytest.raises(Invalid, match=words):
        require_possible(stage(**knobs))
