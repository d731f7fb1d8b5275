"""What of an answer reasoning-gym checks, and what is said where it is not installed."""

import importlib.util

import pytest

from align.verifiers import gym
from assistant.errors import Invalid

INSTALLED = importlib.util.find_spec("reasoning_gym") is not None


@pytest.mark.parametrize(
    ("answer", "expected", "checked"),
    [
        ("4 + 3 is <answer> 7 </answer>, not 8", "7", "7"),
        ("So the sum is 1234567.", "1234567", "1234567"),
        ("It is 0.5", "0.5", "0.5"),
        ("I cannot say", "7", ""),
        (" olleh\n", "olleh", "olleh"),
    ],
)
def test_the_part_that_is_checked(answer: str, expected: str, checked: str):
    assert gym.said(answer, expected) == checked


def test_knobs_are_numbers():
    assert gym.knobs_of(["max_terms=2", "share=0.5"]) == {"max_terms": 2, "share": 0.5}
    with pytest.raises(Invalid, match="--knob max_terms: write NAME=NUMBER"):
        gym.knobs_of(["max_terms"])


@pytest.mark.skipif(INSTALLED, reason="reasoning-gym is installed")
def test_what_is_missing_is_named():
    with pytest.raises(Invalid, match="needs the package reasoning-gym"):
        next(gym.tasks("chain_sum", 1, 0, {}))


@pytest.mark.skipif(not INSTALLED, reason="reasoning-gym is not installed")
def test_its_tasks_are_made_and_checked():
    rows = list(gym.tasks("chain_sum", 3, 0, {"max_terms": 2, "max_digits": 1}))
    assert [gym.score(f"It is {row['gym']['answer']}", row["gym"]) for row in rows] == [1.0] * 3
    assert gym.score("It is -999", rows[0]["gym"]) < 1
    with pytest.raises(Invalid, match="makes no tasks 'no_such'"):
        next(gym.tasks("no_such", 1, 0, {}))
