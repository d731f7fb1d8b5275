"""What an answer is worth: verifiers, reward models, rules, functions of one's own, weighted.

`--reward reward-003:1.0 --reward verifier:numeric:0.5 --reward length:-0.1`
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align.data.gathering import named_weight
from align.data.scorers import scorer_of
from align.quality import repetition
from align.scoring import Score
from align.verifiers import answers, gym, instructions, isolation
from assistant.errors import AssistantError, Invalid
from assistant.registry import Registry

VERIFIER, GYM = "verifier", "gym"
PER_TOKENS = 100
UNSURE = 1.0  # by how much of an ensemble's disagreement its score is lowered
LARGEST = 1e18  # whose square is a number in float32, too


@dataclass(frozen=True)
class Answered:
    """A prompt, what its row says of it (`facts`), and one answer."""

    prompt: list[dict[str, Any]]
    facts: Mapping[str, Any]
    text: str
    tokens: int

    @property
    def talk(self) -> list[dict[str, Any]]:
        """The conversation, answer included."""
        return [*self.prompt, {"role": "assistant", "content": self.text}]


Rewarder = Callable[[Sequence[Answered]], list[float | str]]
"""For each answer a number, or why there is none."""
NOTHING = "it returned nothing"


@dataclass(frozen=True)
class Named:
    """A rewarder, and how much it counts."""

    name: str
    weight: float
    rewarder: Rewarder


@dataclass
class Rewards:
    """A recipe of rewards; what gave no number is counted, with its reason, by rewarder."""

    named: Sequence[Named]
    failed: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def weights(self) -> list[float]:
        """In the order of `named`."""
        return [one.weight for one in self.named]

    def by(self, one: Named, answered: Sequence[Answered]) -> list[float | None]:
        """What one of them gives each answer; where that is no number, it is counted."""
        found: list[float | None] = []
        for given in one.rewarder(answered):
            why = given if isinstance(given, str) else f"{given:g} is no reward"
            if isinstance(given, str) or not abs(given) <= LARGEST:
                self.failed.setdefault(one.name, Counter())[why] += 1
                found.append(None)
            else:
                found.append(given)
        return found

    def took_failed(self) -> dict[str, Counter[str]]:
        """What gave no number since this was asked last."""
        failed, self.failed = self.failed, {}
        return failed

    @property
    def models_apart(self) -> float | None:
        """By how much the members of the reward models differed about the last answers, on average.

        None where no reward is a model's.
        """
        found = [one.rewarder.spread for one in self.named if isinstance(one.rewarder, Model)]
        return sum(found) / len(found) if found else None


def require_facts(rewards: Rewards, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises Invalid where no row's facts have what a verifier looks at."""
    for one in rewards.named:
        needs = one.rewarder.needs if isinstance(one.rewarder, Verifier) else ()
        for name in needs:
            if not any(name in facts for facts in rows):
                raise Invalid(f"No row has {name!r}, which --reward {one.name} looks at.")


def rewards_of(said: Sequence[str], registry: Registry) -> Rewards:
    """A recipe from the command line. Raises Invalid for what names no rewarder."""
    if not said:
        raise Invalid("Give at least one --reward: a reward version, verifier:NAME, length, …")
    named = []
    for one in said:
        name, weight = _weighed(one)
        named.append(Named(name, weight, rewarder_of(name, registry)))
    if all(one.weight == 0 for one in named):
        raise Invalid("Every --reward has the weight 0, so nothing would be learnt.")
    return Rewards(named)


def _weighed(said: str) -> tuple[str, float]:
    name, weight = named_weight(said)
    if weight is not None and not math.isfinite(weight):
        raise Invalid(f"{said!r}: the weight of a reward must be a finite number.")
    return name, 1.0 if weight is None else weight


def rewarder_of(name: str, registry: Registry) -> Rewarder:
    """By its name. Raises Invalid where there is none of it."""
    if name in RULES:
        return RULES[name]
    kind, _, rest = name.partition(":")
    if kind == VERIFIER:
        if rest not in VERIFIERS:
            raise Invalid(f"There is no verifier {rest!r}; there are {', '.join(VERIFIERS)}.")
        if rest == GYM:
            gym.require()
        return VERIFIERS[rest]
    file, colon, function = name.rpartition(":")
    if colon and file.endswith(".py"):
        return _own(Path(file), function)
    return Model(name, registry)


def _own(file: Path, function: str) -> Rewarder:
    """A function of one's own, given (conversation, facts), in a process with limits."""
    if not file.is_file():
        raise Invalid(f"There is no file {file} to find the function {function} in.")
    try:
        isolation.require(file, function)
    except ValueError as error:
        raise Invalid(f"--reward {file}:{function} cannot be used: {error}") from error

    def reward(answered: Sequence[Answered]) -> list[float | str]:
        calls = [[one.talk, dict(one.facts)] for one in answered]
        return [_number(*returned) for returned in isolation.call(file, function, calls)]

    return reward


def _number(given: Any, why: str) -> float | str:
    if given is None:
        return why or NOTHING
    if not isinstance(given, int | float):
        return f"{given!r} is no number"[:300]
    return float(given) if abs(given) <= LARGEST else f"{str(given)[:30]} is no reward"


class Model:
    """A version that `align reward` made."""

    def __init__(self, name: str, registry: Registry) -> None:
        self._scorer = scorer_of(name, registry)
        self.spread = 0.0
        """Of its members about the answers that it scored last, on average."""

    def __call__(self, answered: Sequence[Answered]) -> list[float | str]:
        """Each answer's score, less what its members differ by."""
        found: list[float | str] = []
        spreads = []
        for score in self._scores([one.talk for one in answered]):
            if isinstance(score, str):
                found.append(score)
            else:
                found.append(score.mean - UNSURE * score.spread)
                spreads.append(score.spread)
        self.spread = sum(spreads) / len(spreads) if spreads else 0.0
        return found

    def _scores(self, talks: Sequence[list[dict[str, Any]]]) -> list[Score | str]:
        """Of all together, or, where one cannot be read, of each by itself."""
        try:
            return list(self._scorer.score(talks))
        except (AssistantError, ValueError) as error:
            if len(talks) == 1:
                return [str(error)]
        return [score for talk in talks for score in self._scores([talk])]


@dataclass(frozen=True)
class Verifier:
    """A check of single answers by what stands in their rows."""

    check: Callable[..., float]
    """Given an answer's text and its row's values of `needs`, in that order."""
    needs: tuple[str, ...]

    def __call__(self, answered: Sequence[Answered]) -> list[float | str]:
        """What each answer is worth, or what the row lacks, or is wrong with."""
        return list(map(self._one, answered))

    def _one(self, one: Answered) -> float | str:
        if lacking := [name for name in self.needs if name not in one.facts]:
            return f"the row has no {lacking[0]!r}"
        try:
            return float(self.check(one.text, *(one.facts[name] for name in self.needs)))
        except (ValueError, AssistantError) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a model may write what no check expects
            return f"{type(error).__name__}: {error}"


def _repeats(answered: Sequence[Answered]) -> list[float | str]:
    return [repetition(one.text.split()) for one in answered]


VERIFIERS: dict[str, Verifier] = {
    "exact": Verifier(answers.exactly, ("answer",)),
    "numeric": Verifier(answers.numerically, ("answer",)),
    "format": Verifier(answers.in_form, ("form",)),
    "instructions": Verifier(
        lambda text, kinds, arguments: instructions.strictly(kinds, arguments, text),
        ("instruction_id_list", "kwargs"),
    ),
    "calls": Verifier(
        lambda text, calls: answers.as_calls(answers.calls_in(text), calls), ("calls",)
    ),
    GYM: Verifier(gym.score, ("gym",)),
    "tests": Verifier(lambda text, tests: isolation.passes(code_of(text), tests), ("tests",)),
}
RULES: dict[str, Rewarder] = {
    "length": lambda answered: [one.tokens / PER_TOKENS for one in answered],
    "repetition": _repeats,
}


def code_of(answer: str) -> str:
    """What stands in an answer's last fence, or the answer where it has none."""
    parts = answer.split("```")
    if len(parts) < 3:
        return answer
    block = parts[-2] if len(parts) % 2 else parts[-1]
    first, _, rest = block.partition("\n")
    return rest if first.strip().lower() in ("python", "py", "") else block
