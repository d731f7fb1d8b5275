"""What of an answer reasoning-gym checks, and what is said where it is not installed."""

import sys

import pytest

from align.verifiers import gym
from assistant.errors import Invalid


@pytest.mark.parametrize(
    ("answer", "expected", "checked"),
    [
        ("4 + 3 is <answer> 7 </answer>, not 8", "7", "7"),
        ("So the sum is 1234567.", "1234567", "1234567"),
        ("It is 0.5", "0.5", "0.5"),
        ("I cannot say", "7", ""),
        ("It is 1e999", "7", "inf"),
        (" olleh\n", "olleh", "olleh"),
        (" anything ", None, "anything"),
    ],
)
def test_the_part_that_is_checked(answer: str, expected: str | None, checked: str):
    assert gym.said(answer, expected) == checked


def test_knobs_are_numbers():
    assert gym.knobs_of(["max_terms=2", "share=0.5"]) == {"max_terms": 2, "share": 0.5}
    with pytest.raises(Invalid, match="--knob max_terms: write NAME=NUMBER"):
        gym.knobs_of(["max_terms"])


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)  # as where it is not installed
    with pytest.raises(Invalid, match=r"is not installed \(pip install reasoning-gym\)"):
        next(gym.tasks("chain_sum", 1, 0, {}))


def test_its_tasks_are_made_and_checked():
    rows = list(gym.tasks("chain_sum", 3, 0, {"max_terms": 2, "max_digits": 1}))
    assert [gym.score(f"It is {row['gym']['answer']}", row["gym"]) for row in rows] == [1.0] * 3
    assert gym.score("It is -999", rows[0]["gym"]) < 1
    with pytest.raises(Invalid, match="makes no tasks 'no_such'"):
        next(gym.tasks("no_such", 1, 0, {}))
