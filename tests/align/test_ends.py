"""How readily answers end is told while it changes, and stops what leads too far."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from align.curve import EARLY, LATE
from align.ends import ENDS, PAIRS, Ends
from align.loading import load
from align.quick.head import compact_lm_head
from align.recipes import DPO, Job
from align.stages import make
from assistant.errors import Invalid
from assistant.settings import Settings
from assistant.version import Version
from tests.align.conftest import home_with
from tests.align.lessons import question, write

END = 2
LONG, SHORT = "Well, as far as I can see, my friend, the number you mean may be {}.", "It is {}."


class Ending:
    """A model that ends with a fixed chance after every token, another one without its adapter."""

    training = True

    def __init__(self, chance: float, before: float) -> None:
        self.chance, self.before = chance, before

    def eval(self) -> None:
        self.training = False

    def train(self, training: bool) -> None:
        self.training = training

    def parameters(self) -> Iterator[torch.Tensor]:
        yield torch.zeros(1)

    @contextmanager
    def disable_adapter(self):
        self.chance, self.before = self.before, self.chance
        yield
        self.chance, self.before = self.before, self.chance

    def __call__(self, labels: torch.Tensor, **_: Any) -> SimpleNamespace:
        assert set(labels.flatten().tolist()) <= {END, -100}
        return SimpleNamespace(log_probs=torch.full(labels[:, 1:].shape, self.chance).log())


def pair(chosen: list[int], rejected: list[int]) -> dict[str, list[int]]:
    return {"prompt_ids": [1, 5], "chosen_ids": chosen, "rejected_ids": rejected}


@pytest.mark.parametrize(("chance", "times"), [(0.05, 0.5), (0.1, 1.0), (0.4, 4.0)])
def test_chances_to_end_are_compared_with_those_of_the_base(chance: float, times: float):
    model = Ending(chance, before=0.1)
    watched = Ends.of([pair([7, 8, END, 9], [7, 7])] * 20, END)
    assert watched is not None
    assert len(watched.pairs) == PAIRS
    assert watched.times(model, model) == pytest.approx(times)
    assert model.training
    later = Ending(0.2, before=9.0)
    assert watched.times(later, later) == pytest.approx(2.0)  # the base is asked once


def test_both_answers_of_a_pair_tell_what_each_tells_alone(tiny: Version):
    model = load(tiny.path, torch.float32)
    compact_lm_head(model)
    prompt, answers = [5, 6, 7, 8, 9, 10, 11, 12, 13], [[7, 8, 20, END, 9], [21, 7]]
    both = Ends([(prompt, answers)], END)._endings(model)
    alone = [Ends([(prompt, [answer])], END)._endings(model) for answer in answers]
    assert both == pytest.approx(sum(alone), rel=1e-4)
    cut = Ends([(prompt, [[7, 8, 20, END]])], END)._endings(model)
    assert alone[0] == pytest.approx(cut)  # nothing counts that comes after the end


def test_answers_none_of_which_ends_tell_nothing():
    assert Ends.of([pair([7, 8], [7, 7])], END) is None


@pytest.fixture
def home(tmp_path: Path, tiny: Version) -> Settings:
    return home_with(tiny, tmp_path)


def learnt(home: Settings, chosen: str, rejected: str, name: str, **knobs: Any) -> Version:
    rows = [
        {"prompt": question(n), "chosen": chosen.format(n), "rejected": rejected.format(n)}
        for n in range(40)
    ]
    file = write(home.home / f"{name}.jsonl", rows)
    recipe = DPO(**{"epochs": 4, "learning_rate": 1e-2, "rank": 4, "anchor": 0.0} | knobs)
    return make("dpo", Job(data=(str(file),), name=name), recipe, home, lambda line: None)


def told(version: Version) -> dict[str, Any]:
    return json.loads((version.path / "made/training.json").read_text())["stages"][0]["metrics"]


@pytest.mark.parametrize(
    ("chosen", "rejected", "why"),
    [(LONG, SHORT, LATE), (SHORT, LONG, EARLY)],
    ids=["long", "short"],
)
def test_who_is_liked_for_it_ends_late_or_early_until_it_leaves_the_band(
    home: Settings, chosen: str, rejected: str, why: str
):
    made = learnt(home, chosen, rejected, "stretched", stretch=1.05)
    assert told(made)["stopped"] == why
    assert told(made)["steps"] < 24
    assert f"stopped: {why}, answers end {told(made)[ENDS]:.2g} times as readily" in made.source
    assert (told(made)[ENDS] > 1) is (why == EARLY)


def test_a_band_without_room_is_refused(home: Settings):
    with pytest.raises(Invalid, match=r"--stretch 1\.0: give more than 1"):
        learnt(home, LONG, SHORT, "none", stretch=1.0)


def test_where_all_weights_are_trained_there_is_no_base_to_compare_with(home: Settings):
    assert ENDS not in told(
        learnt(home, LONG, SHORT, "whole", rank=0, learning_rate=1e-4, epochs=1)
    )
