"""Quality: answers that run in circles are not learnt, and counted."""

import pytest

from align.quality import LOOPS, repetition, without_loops
from assistant.feedback.rows import Row, Rows
from tests.assistant.feedback.said import assistant, user

LOOP = "on and on and on and on and on and on"
CALM = "This was said once."


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("one two three", 0.0),
        ("one two three four", 0.0),
        ("one two three four five six", 0.0),
        ("a a a a a", 0.5),
        ("a b c d a b c d", 0.2),
        ("yes " * 103, 0.99),
    ],
)
def test_repetition_is_the_share_of_runs_that_were_said_before(text: str, share: float):
    assert repetition(text.split()) == pytest.approx(share)


def row(**data: object) -> Row:
    asked = {} if "messages" in data else {"prompt": [user("Why?")]}
    return Row(asked | data, "conv", ("j",))


@pytest.mark.parametrize(
    ("shape", "learnt"),
    [
        ({"chosen": [assistant(LOOP)], "rejected": [assistant(CALM)]}, False),
        ({"chosen": [assistant(CALM)], "rejected": [assistant(LOOP)]}, True),
        ({"completion": [assistant(LOOP)], "label": True}, False),
        ({"completion": [assistant(LOOP)], "label": False}, True),
        ({"messages": [user(CALM), assistant(LOOP)]}, False),
        ({"messages": [user(LOOP), assistant(CALM)]}, True),
    ],
)
def test_a_good_answer_that_runs_in_circles_is_left_out_and_counted(shape, learnt: bool):
    found = without_loops(Rows([row(**shape)]))
    assert len(found.rows) == learnt
    assert found.left_out == ({} if learnt else {LOOPS: 1})


def test_what_a_person_wrote_is_learnt_as_it_is():
    written = Row({"messages": [user("Sing."), assistant(LOOP)]}, "conv", ("j",), corrected=True)
    assert without_loops(Rows([written])).rows == [written]
