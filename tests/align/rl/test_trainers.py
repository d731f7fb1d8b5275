"""What is made of rewards before anything is learnt from them."""

import asyncio
import json
import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from align.rl.drawing import Drawn, Engine
from align.rl.trainers import Phased
from align.steady import Anchored

MISSING = math.nan


class Given:
    """Stands where TRL's trainer does: three answers, of which two rewarders thought this."""

    def _calculate_rewards(self, *_: Any) -> torch.Tensor:
        return torch.tensor([[1.0, 2.0], [3.0, MISSING], [MISSING, MISSING]])


class Trainer(Phased, Given):
    """As far as rewards go."""

    reward_func_names = ("one", "other")
    state = SimpleNamespace(global_step=0)

    def __init__(self) -> None:
        self._metrics: Any = {"train": {"seconds/rewarding": [], "repeated": []}}
        self.noted: Any = []
        self.kept: Any = SimpleNamespace(note=lambda lines, *_: self.noted.extend(lines))
        self.rewards: Any = SimpleNamespace(
            took_failed=lambda: {"other": Counter({"it broke": 2})}, models_apart=None
        )


def test_an_answer_that_lacks_one_of_its_rewards_competes_with_none():
    trainer = Trainer()
    talk = [{"role": "user", "content": "Q?"}, {"role": "tool", "content": "4", "name": "sum"}]
    completions = [[{"content": text}] for text in ("A", "B", "a b c d a b c d")]
    rewards = trainer._calculate_rewards([{"talk": json.dumps(talk)}] * 3, None, completions, None)
    assert rewards.isnan().tolist() == [[False] * 2, [True] * 2, [True] * 2]
    assert rewards[0].tolist() == [1.0, 2.0]
    told = [line["rewards"] for line in trainer.noted]  # what each thought is kept to read
    assert trainer.noted[0]["prompt"] == talk
    assert trainer._metrics["train"]["repeated"] == [pytest.approx(0.2 / 3)]
    assert told[1:] == [{"one": 3.0, "other": None}, {"one": None, "other": None}]


def test_no_two_answers_of_a_phase_are_drawn_by_one_seed():
    asked: list[dict[str, Any]] = []

    class Asking(Engine):
        def __init__(self) -> None:
            """No engine: only what it would be asked."""

        async def _answers(self, asked_one: dict[str, Any], _places: Any) -> list[Drawn]:
            asked.append(asked_one)
            return []

    asyncio.run(Asking()._all([[1], [2], [3]], each=4, longest=8, seed=10))
    seeds = [one["seed"] + number for one in asked for number in range(one["n"])]  # as vLLM counts
    assert sorted(seeds) == [*range(10, 22)]


class Losing:
    """Stands where TRL's trainer computes its loss."""

    def compute_loss(self, *_: Any) -> torch.Tensor:
        return torch.tensor(1.0)


@pytest.mark.parametrize(("scaled", "pull"), [(True, 0.5), (False, 2.0)])
def test_the_pull_to_plain_text_is_scaled_once(scaled: bool, pull: float):
    class Held(Anchored, Losing):
        anchor, loss_is_scaled_for_ga, current_gradient_accumulation_steps = 1.0, scaled, 4
        state = SimpleNamespace(global_step=0)

        def __init__(self) -> None:
            self._metrics: Any = {"train": {"moved": []}}

        def _moved(self, *_: Any) -> torch.Tensor:
            return torch.tensor(2.0)

    found = Held().compute_loss(SimpleNamespace(training=True), {})
    assert found == 1.0 + pull
