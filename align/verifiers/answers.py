"""Whether an answer says what was to be found: word for word, as a number, in a form, as a call."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import regex

NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
LAST = re.compile(r"(?:####|\banswer(?: is)?\s*:?)\s*", re.IGNORECASE)
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
NEAR = 1e-6  # relative
SECONDS = 1.0  # to look for a form in one answer: there are forms for which it would take years


def exactly(answer: str, expected: Any) -> bool:
    """Whether it is what is expected, but for case, spaces and a stop at its end.

    That is a text or a number, or one of a list of such.
    """
    wanted = expected if isinstance(expected, list) else [expected]
    return _plain(answer) in {_plain(str(one)) for one in wanted}


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .。!").casefold()


def numerically(answer: str, expected: float | str) -> bool:
    """Whether the number that it ends up with is the expected one.

    That is the one in its last box, else the first one behind its last "answer is" or "####", else
    its last one. Raises ValueError if what is expected is no number.
    """
    found = number_of(answer)
    wanted = float(str(expected).replace(",", ""))
    return found is not None and math.isclose(found, wanted, rel_tol=NEAR, abs_tol=NEAR)


def number_of(answer: str) -> float | None:
    """The number that an answer ends up with, if it has one."""
    if boxes := BOXED.findall(answer):
        answer = boxes[-1]
    tail = LAST.split(answer)[-1]
    behind = NUMBER.findall(tail) if tail != answer else []
    said = behind[:1] or NUMBER.findall(answer)[-1:]
    return float(said[0].replace(",", "")) if said else None


def in_form(answer: str, form: str) -> bool:
    """Whether the whole answer is of a form, given as a regular expression.

    Raises ValueError for what is none, or takes too long to look for.
    """
    try:
        return regex.fullmatch(form, answer.strip(), regex.DOTALL, timeout=SECONDS) is not None
    except regex.error as error:
        raise ValueError(f"{form!r} is no regular expression: {error}") from error
    except TimeoutError as error:
        raise ValueError(f"{form!r} took longer than {SECONDS:g} s on an answer") from error


def calls_in(answer: str) -> list[Mapping[str, Any]]:
    """The tool calls in an answer's text, as our chat template writes them.

    What stands there and is no call is one without a name, so that it equals none.
    """
    return [_call(text) for text in CALL.findall(answer)]


def _call(text: str) -> Mapping[str, Any]:
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def as_calls(made: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the expected tools were called (name, arguments), in any order, and no other.

    Raises ValueError where what is expected are no calls.
    """
    if not all(isinstance(call, dict) for call in expected):
        raise ValueError("'calls' must be a list of objects with name and arguments")
    return _sorted(made) == _sorted(expected)


def _sorted(calls: Sequence[Mapping[str, Any]]) -> list[str]:
    plain = [call["function"] if _is_wrapped(call) else call for call in calls]
    return sorted(json.dumps([c.get("name"), _arguments(c)], sort_keys=True) for c in plain)


def _is_wrapped(call: Mapping[str, Any]) -> bool:
    """Whether it is written as OpenAI's API does, with its kind beside it."""
    return isinstance(call.get("function"), dict)


def _arguments(call: Mapping[str, Any]) -> Any:
    arguments = call.get("arguments", {})
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
