"""Tasks of reasoning-gym (Stojanovski et al. 2025), made and checked by it, if it is installed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from align.verifiers.answers import number_of
from assistant.errors import Invalid

TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def knobs_of(said: Sequence[str]) -> dict[str, float]:
    """`NAME=NUMBER`, each. Raises Invalid for anything else."""
    knobs: dict[str, float] = {}
    for one in said:
        name, _, value = one.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise Invalid(f"--knob {one}: write NAME=NUMBER.") from None
        knobs[name] = int(number) if number.is_integer() else number
    return knobs


def tasks(name: str, count: int, seed: int, knobs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """So many rows (prompt, gym) of the tasks with that name, at a difficulty that knobs set.

    Raises Invalid for a name or knobs that it does not know.
    """
    try:
        made = _gym().create_dataset(name, size=count, seed=seed, **knobs)
    except (ValueError, TypeError, AssertionError) as error:
        raise Invalid(f"reasoning-gym makes no tasks {name!r} so: {error}") from error
    for entry in made:
        facts = {"name": name, "answer": entry["answer"], "metadata": entry["metadata"]}
        yield {"prompt": entry["question"], "gym": facts}


def score(answer: str, facts: Mapping[str, Any]) -> float:
    """How right an answer is, from 0 to 1, by the task's own check.

    What is checked stands between <answer> tags, else it is the number that the answer ends up
    with, where one is expected, else all of it.
    """
    check = _gym().get_score_answer_fn(facts["name"])
    entry = {"question": "", "answer": facts["answer"], "metadata": facts["metadata"]}
    return float(check(said(answer, facts["answer"]), entry))


def said(answer: str, expected: str | None) -> str:
    """The part of an answer that is checked."""
    if tagged := TAGGED.findall(answer):
        return str(tagged[-1]).strip()
    if expected is None or number_of(expected) is None:
        return answer.strip()
    number = number_of(answer)
    return "" if number is None else str(int(number) if number.is_integer() else number)


def require() -> None:
    """Raises Invalid where it is not installed."""
    _gym()


def _gym() -> Any:
    try:
        import reasoning_gym  # noqa: PLC0415 - optional, and slow
    except ImportError as error:
        raise Invalid(
            "The package reasoning-gym is not installed (pip install reasoning-gym)."
        ) from error
    return reasoning_gym
