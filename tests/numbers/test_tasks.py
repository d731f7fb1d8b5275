"""Tasks of the studies: what tells shares nothing with what is learnt, and can be checked."""

import re
from pathlib import Path

import pytest

from align.rl.rewards import Answered, rewards_of
from assistant.registry import Registry
from tests.numbers.tasks import FAMILIES, TOPICS, Family


def about(family: Family, prompt: str) -> object:
    """What must not be on both sides: a pair of numbers, or a topic."""
    if family.name == "sums":
        return frozenset(map(int, re.findall(r"\d+", prompt)))
    return next(topic for topic in sorted(TOPICS, key=len, reverse=True) if topic in prompt)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_tells_shares_nothing_with_what_is_learnt(family: Family):
    learnt, unseen = family.split(160, 80)
    assert (len(learnt), len(unseen)) == (160, 80)
    sides = [{about(family, row["prompt"]) for row in rows} for rows in (learnt, unseen)]
    assert sides[0] & sides[1] == set()
    assert family.split(160, 80) == (learnt, unseen)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_task_can_be_checked(family: Family, tmp_path: Path):
    rewards = rewards_of([family.reward], Registry(tmp_path))
    rows = [row for rows in family.split(10**6, 10**6) for row in rows]
    said = [str(row.get("answer", '"so it is"')) for row in rows]
    answered = [Answered([], row, text, 3) for row, text in zip(rows, said, strict=True)]
    assert set(rewards.by(rewards.named[0], answered)) == {1.0}
    assert rewards.failed == {}
