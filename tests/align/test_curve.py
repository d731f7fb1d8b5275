"""Beside every step: a loss that explodes ends training, and a broken curve does not."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from align.curve import EARLY, LATE, Band, Watch
from align.ends import ENDS
from align.merging import TrainingFailed
from align.picture import draw_curve
from align.progress import Progress


def watch(folder: Path, losses: list[float], step: int = 0) -> Watch:
    """What was told of these losses, one a step, from a step on."""
    made = Watch(Progress(folder), folder / "curve.jsonl", 0.0, Band(floor=-3.0))
    made.on_train_begin(None, SimpleNamespace(global_step=step), None)
    for number, loss in enumerate(losses, start=step + 1):
        state = SimpleNamespace(global_step=number, max_steps=99)
        made.on_log(None, state, SimpleNamespace(), {"loss": loss, "reward": 1.0, "kl": loss})
    return made


def test_a_loss_that_explodes_ends_it_with_a_sentence(tmp_path: Path):
    with pytest.raises(TrainingFailed, match="has grown to 9 at step 20, from 2; train again with"):
        watch(tmp_path, [2.0] * 10 + [9.0] * 10)


@pytest.mark.parametrize("losses", [[2.0, 9.0] * 20, [0.1] * 10 + [2.0] * 10, [30.0] * 30])
def test_a_loss_that_is_noisy_grows_a_little_or_began_high_goes_on(
    tmp_path: Path, losses: list[float]
):
    assert watch(tmp_path, losses).summary()["steps"] == len(losses)


@pytest.mark.parametrize(
    ("ends", "why"), [(0.0, LATE), (0.24, LATE), (0.26, None), (3.9, None), (4.1, EARLY)]
)
def test_ends_that_leave_the_band_stop_it(tmp_path: Path, ends: float, why: str | None):
    made = Watch(Progress(tmp_path), tmp_path / "curve.jsonl", 0.0, Band(stretch=4.0))
    control = SimpleNamespace(should_training_stop=False)
    state = SimpleNamespace(global_step=1, max_steps=99)
    made.on_log(None, state, control, {"loss": 1.0, ENDS: ends})
    assert control.should_training_stop is (why is not None)
    assert made.summary().get("stopped") == why
    assert made.summary()[ENDS] == ends


def test_a_line_that_was_cut_off_does_not_keep_it_from_going_on(tmp_path: Path):
    watch(tmp_path, [2.0, 1.0])
    curve = tmp_path / "curve.jsonl"
    curve.write_text(curve.read_text() + '{"step": 3, "lo')
    assert watch(tmp_path, [], step=2).summary()["steps"] == 2
    assert watch(tmp_path, [0.5], step=2).summary()["loss_last"] == 0.5
    assert len(curve.read_text().splitlines()) == 3


def test_the_reward_is_drawn_by_how_far_the_model_went(tmp_path: Path):
    watch(tmp_path, [2.0, 1.0])
    draw_curve(tmp_path / "curve.jsonl", tmp_path / "curve.svg")
    assert "reward by kl" in (tmp_path / "curve.svg").read_text()
