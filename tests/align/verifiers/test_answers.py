"""Answers that say what was to be found, and those that nearly do."""

from typing import Any

import pytest

from align.verifiers import answers


@pytest.mark.parametrize(
    ("said", "expected", "right"),
    [
        ("Paris.", "paris", True),
        ("  New \n York ", "new york", True),
        ("Paris, France", "paris", False),
        ("yes", ["yes", "y"], True),
        ("42.", 42, True),
        ("2", [1, 2], True),
        ("", "paris", False),
        ("北京。", "北京", True),
    ],
)
def test_exact(said: str, expected: Any, right: bool):
    assert answers.exactly(said, expected) is right


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("The answer is 12.", 12),
        ("3 + 4 = 7", 7),
        ("The answer is 7, since 3 + 4 = 8 - 1", 7),
        ("#### 1,234", 1234),
        ("so \\boxed{-2.5} and not 3", -2.5),
        ("1e3", 1000),
        ("I do not know", None),
        ("The answer is nothing", None),
        ("", None),
    ],
)
def test_the_number_that_an_answer_ends_up_with(said: str, number: float | None):
    assert answers.number_of(said) == number


def test_numbers_are_compared_as_numbers():
    assert answers.numerically("It is 1,000.0", "1000")
    assert answers.numerically("0.3", 0.1 + 0.2)
    assert not answers.numerically("It is 100", 1000)
    assert not answers.numerically("no number", 0)
    with pytest.raises(ValueError, match="could not convert"):
        answers.numerically("3", "three")


def test_forms():
    assert answers.in_form(" <b>\nyes</b> ", "<b>.*</b>")
    assert not answers.in_form("x <b>yes</b>", "<b>.*</b>")
    with pytest.raises(ValueError, match="no regular expression"):
        answers.in_form("x", "(")


def test_calls():
    add = {"name": "add", "arguments": {"a": 1, "b": 2}}
    call = '<tool_call>\n{"name": "add", "arguments": {"b": 2, "a": 1}}\n</tool_call>'
    assert answers.as_calls(answers.calls_in(f"Let me see.\n{call}"), [add])
    assert answers.as_calls([{"function": add | {"arguments": '{"a": 1, "b": 2}'}}], [add])
    assert not answers.as_calls(answers.calls_in(call), [add, add])
    assert answers.as_calls(answers.calls_in(f"{call}\n{call}"), [add, add])
    assert not answers.as_calls(answers.calls_in("3"), [add])
    assert answers.as_calls(answers.calls_in("3"), [])
    with pytest.raises(ValueError, match="must be a list of objects"):
        answers.as_calls([], ["add"])
    for broken in ("{", "[]", '{"function": "add"}', '{"name": "add", "arguments": "{"}'):
        assert not answers.as_calls(answers.calls_in(f"<tool_call>{broken}</tool_call>"), [add])
        assert not answers.as_calls(answers.calls_in(f"<tool_call>{broken}</tool_call>"), [])
