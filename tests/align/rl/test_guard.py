"""Training stops where a reward parts from what it was to mean."""

from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from align.rl.guard import (
    AGAINST,
    APART,
    CUT,
    DIFFERED,
    ENDLESS,
    LEFT,
    LENGTH,
    LONGER,
    REPEATED,
    REPEATS,
    RIGHT,
    Bounds,
    Guard,
)

BOUNDS = Bounds(budget=0.5, window=2, apart=2.0, longer=3.0, repeats=0.2, held_out=64)


def watched(*logged: dict[str, Any]) -> tuple[Guard, int]:
    """A guard that saw some steps, and after how many it stopped training."""
    guard, control, state = Guard(BOUNDS), TrainerControl(), TrainerState()
    for number, logs in enumerate(logged):
        state.log_history.append(logs | {"step": number})
        guard.on_log(None, state, control, logs)
        if control.should_training_stop:
            return guard, number + 1
    return guard, 0


def phase(reward: float, **numbers: float) -> dict[str, Any]:
    return {"kl": 0.0, "reward": reward, "loss": 0.0} | numbers


def test_what_left_its_base_too_far_stops_on_the_mean_of_the_last_steps():
    steps = [phase(reward=-0.4, kl=0.6), phase(-0.9, kl=0.1), phase(-0.2, kl=0.8), {"kl": 0.7}]
    guard, stopped = watched(*steps)
    assert stopped == 4  # 0.1 and 0.8 are within the budget
    told = guard.told()
    assert told["stopped"] == LEFT
    assert (told["reward_first"], told["reward_last"]) == (-0.4, -0.2)
    assert told["nats_from_base"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("number", "first", "allowed", "too_far", "why"),
    [
        (APART, 0.3, 0.6, 0.61, DIFFERED),
        (LENGTH, 20.0, 60.0, 61.0, LONGER),
        (CUT, 0.4, 0.79, 0.81, ENDLESS),  # a third of those that ended do
        (REPEATED, 0.1, 0.3, 0.31, REPEATS),
        (RIGHT, 0.5, 0.38, 0.36, AGAINST),  # 24 and 23 of 64: the interval holds a half, or not
    ],
)
def test_a_reward_that_grows_beside_something_worse_stops(
    number: str, first: float, allowed: float, too_far: float, why: str
):
    begin = phase(1.0, **{number: first})
    assert watched(begin, phase(1.5, **{number: allowed}))[1] == 0
    assert watched(begin, phase(1.0, **{number: too_far}))[1] == 0  # nothing was exploited
    guard, stopped = watched(begin, phase(1.5, **{number: too_far}))
    assert stopped == 2
    assert guard.told()["stopped"] == why


def test_where_hardly_an_answer_ends_at_first_that_fewer_do_is_no_sign():
    assert watched(phase(1.0, **{CUT: 0.95}), phase(1.5, **{CUT: 1.0}))[1] == 0


def test_a_guard_that_was_killed_sees_what_was_logged_before():
    state, control = TrainerState(), TrainerControl()
    state.log_history = [phase(1.0, **{LENGTH: 10.0}) | {"step": 1}]  # of a checkpoint
    state.log_history.append(phase(2.0, **{LENGTH: 31.0}) | {"step": 2})
    guard = Guard(BOUNDS)
    guard.on_log(None, state, control, state.log_history[-1])
    assert control.should_training_stop
    assert guard.told()["reward_first"] == 1.0


def test_what_each_part_took_is_told():
    first = phase(0.0, step_time=13.0) | {"seconds/drawing": 2.0, "seconds/refreshing": 10.0}
    second = phase(0.0, step_time=5.0) | {"seconds/drawing": 3.0, "seconds/refreshing": 1.0}
    guard, _ = watched(first, {"kl": 0.0, "step_time": 2.0}, second, {"train_runtime": 99.0})
    assert guard.told()["seconds"] == {"drawing": 5.0, "refreshing": 11.0, "learning": 4.0}
