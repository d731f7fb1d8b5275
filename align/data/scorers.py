"""What tells good answers from bad ones: a version that scores, or a function of one's own."""

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from assistant.errors import Invalid
from assistant.registry import Registry

Talk = list[dict[str, Any]]
Scoring = Callable[[Sequence[Talk]], list[float | None]]


def scoring_of(name: str, registry: Registry) -> Scoring:
    """`reward-001` (a version that `align reward` made) or `FILE.py:FUNCTION`.

    Such a function is given one conversation, answer included, and returns a number, or None where
    it has nothing to say. Raises Invalid for what is neither.
    """
    file, colon, function = name.rpartition(":")
    if colon and file.endswith(".py"):
        return _of_function(Path(file), function)
    scorer = scorer_of(name, registry)
    return lambda talks: [score.mean for score in scorer.score(list(talks))]


def scorer_of(name: str, registry: Registry) -> Any:
    """A reward version, ready to score. Raises Invalid for a version of another kind."""
    version = registry.get(name)
    if version.kind != "reward":
        raise Invalid(f"{name} is a {version.kind} version, and does not score answers.")
    from align.scoring import Scorer  # noqa: PLC0415 - needs torch

    return Scorer(version.path)


def _of_function(file: Path, name: str) -> Scoring:
    if not file.is_file():
        raise Invalid(f"There is no file {file} to find the function {name} in.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a file of somebody's own may do anything
        raise Invalid(f"{file} cannot be loaded: {type(error).__name__}: {error}.") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise Invalid(f"{file} has no function {name}.")

    def scored(talk: Talk) -> float | None:
        try:
            value = function(talk)
        except Exception as error:  # it is somebody's own
            raise Invalid(f"{file}:{name} failed: {type(error).__name__}: {error}.") from error
        return _number(value, f"{file}:{name}")

    return lambda talks: list(map(scored, talks))


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(f"{name} returned {value!r}, which is neither a finite number nor None.")
    return float(value)
