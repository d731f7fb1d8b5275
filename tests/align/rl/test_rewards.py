"""Recipes of rewards: each gives a number, or none and why."""

from pathlib import Path
from typing import Any

import pytest

from align.rendering import Refused
from align.rl.rewards import Answered, Model, Named, Rewards, code_of, require_facts, rewards_of
from align.scoring import Score
from assistant.errors import Invalid, NotFound
from assistant.registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


def answered(text: str, **facts: Any) -> Answered:
    return Answered([{"role": "user", "content": "What is it?"}], facts, text, len(text.split()))


def given_by(rewards: Rewards, answers: list[Answered]) -> list[list[float | None]]:
    return [rewards.by(one, answers) for one in rewards.named]


def test_rewards_are_weighed_and_each_is_told_apart(registry: Registry):
    rewards = rewards_of(["verifier:numeric:0.5", "length:-0.1", "repetition"], registry)
    assert rewards.weights == [0.5, -0.1, 1.0]
    given = [answered("It is 4", answer=4), answered("a b c d a b c d", answer=4)]
    verified, lengths, repeated = given_by(rewards, given)
    assert (verified, lengths) == ([1.0, 0.0], [0.03, 0.08])
    assert repeated == pytest.approx([0.0, 0.2])
    assert rewards.failed == {}


def test_what_gives_no_number_is_counted_and_never_zero(registry: Registry, tmp_path: Path):
    file = tmp_path / "own.py"
    file.write_text(
        "def odd(talk, facts):\n"
        "    if facts['way'] == 'error': raise ValueError('broken')\n"
        "    kinds = {'nan': float('nan'), 'none': None, 'text': 'x', 'large': 10**400}\n"
        "    return kinds.get(facts['way'], 1)\n"
    )
    rewards = rewards_of([f"{file}:odd", "verifier:numeric"], registry)
    ways = ("nan", "none", "text", "large", "error", "none", "one")
    given = [answered("3", way=way) for way in ways]
    assert given_by(rewards, given) == [[None] * 6 + [1.0], [None] * 7]
    own, numeric = rewards.failed.values()
    assert own == {
        "'x' is no number": 1,
        "nan is no reward": 1,
        "it returned nothing": 2,
        f"1{29 * '0'} is no reward": 1,
        "ValueError: broken": 1,
    }
    assert numeric == {"the row has no 'answer'": 7}


@pytest.mark.parametrize("number", [1e39, -1e39, float("inf")])
def test_what_no_average_can_hold_is_no_reward(registry: Registry, number: float):
    rewards = rewards_of(["length"], registry)
    infinite = Named("own", 1.0, lambda answers: [number] * len(answers))
    assert rewards.by(infinite, [answered("a")]) == [None]
    assert rewards.failed == {"own": {f"{number:g} is no reward": 1}}


def test_tests_that_are_broken_are_no_zero(registry: Registry):
    rewards = rewards_of(["verifier:tests"], registry)
    assert given_by(rewards, [answered("x = 1", tests="assert (")]) == [[None]]
    [[why]] = rewards.failed.values()
    assert why.startswith("the row's tests are no Python")


def test_rows_have_what_verifiers_look_at(registry: Registry):
    rewards = rewards_of(["verifier:numeric", "length"], registry)
    require_facts(rewards, [{}, {"answer": 4}])
    with pytest.raises(Invalid, match="No row has 'answer', which --reward verifier:numeric"):
        require_facts(rewards, [{}, {"form": ".*"}])


def test_a_version_that_is_called_as_a_verifier_is_none():
    model = Named("format", 1.0, lambda answers: [1.0] * len(answers))
    require_facts(Rewards([model]), [{}])


def test_an_answer_that_a_scorer_cannot_read_costs_no_other():
    class Scorer:
        """Reads nothing that shouts; two members of an ensemble."""

        def score(self, talks: Any) -> list[Score]:
            if any(talk[-1]["content"].isupper() for talk in talks):
                raise Refused("its template refuses this")
            return [Score(float(len(talk[-1]["content"])), 0.5) for talk in talks]

    model = Model.__new__(Model)
    model._scorer = Scorer()
    assert model([answered("abc"), answered("ABC"), answered("de")]) == [
        2.5,
        "its template refuses this",
        1.5,
    ]
    assert model.spread == 0.5


def test_a_function_that_crashes_costs_no_more_than_its_rewards(registry: Registry, tmp_path: Path):
    file = tmp_path / "own.py"
    file.write_text("def shout(talk, facts):\n    return len(talk[-1]['content']) / facts['by']\n")
    rewards = rewards_of([f"{file}:shout:2"], registry)
    assert given_by(rewards, [answered("four", by=2), answered("four", by=0)]) == [[2.0, None]]
    assert rewards.failed == {f"{file}:shout": {"ZeroDivisionError: division by zero": 1}}


def test_instructions_code_and_forms_are_verified(registry: Registry):
    rewards = rewards_of(["verifier:instructions", "verifier:tests", "verifier:format"], registry)
    told = {
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
        "tests": "assert f(2) == 4",
        "form": "(?s).*def.*",
    }
    fenced = "Here:\n```python\ndef f(n): return 2 * n\n```\nDone"
    assert given_by(rewards, [answered(fenced, **told), answered("no, never", **told)]) == [
        [1.0, 0.0],
        [1.0, 0.0],
        [1.0, 0.0],
    ]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([], "Give at least one --reward"),
        (["verifier:guess"], "There is no verifier 'guess'; there are exact, numeric"),
        (["length:nan"], "must be a finite number"),
        (["length:0"], "Every --reward has the weight 0"),
        (["nowhere.py:f"], "There is no file nowhere.py"),
    ],
)
def test_what_is_no_recipe_is_said(registry: Registry, said: list[str], sentence: str):
    with pytest.raises(Invalid, match=sentence):
        rewards_of(said, registry)


def test_a_function_that_is_not_there_is_said_before_anything_is_drawn(
    registry: Registry, tmp_path: Path
):
    file = tmp_path / "own.py"
    file.write_text("def reward(talk, facts):\n    return 1\n")
    with pytest.raises(Invalid, match="has no attribute 'rewards'"):
        rewards_of([f"{file}:rewards"], registry)


def test_a_version_that_is_not_there_is_said(registry: Registry):
    with pytest.raises(NotFound, match="reward-007"):
        rewards_of(["reward-007"], registry)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("x = 1", "x = 1"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```py\ny = 1\n```\nor\n```python\nx = 1\n```", "x = 1\n"),
        ("cut:\n```python\nx = 1", "cut:\n```python\nx = 1"),
    ],
)
def test_code_in_an_answer(answer: str, code: str):
    assert code_of(answer) == code
