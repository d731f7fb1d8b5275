"""Agreement: several votes on the same two answers are one row, as sure as they agree."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.data.agreement import agreed, raters_agree
from assistant.feedback.rows import Row
from tests.assistant.feedback.said import assistant, user

votes = st.lists(st.sampled_from("+-="), min_size=1, max_size=12)


def row(vote: str, number: int = 0, question: str = "Q?") -> Row:
    sides = [assistant("A"), assistant("B")]
    if vote == "-":
        sides.reverse()
    data = {"prompt": [user(question)], "chosen": [sides[0]], "rejected": [sides[1]]}
    return Row(data | ({"tie": True} if vote == "=" else {}), "talk", (f"j{number}",))


@pytest.mark.parametrize(
    ("said", "better", "weight"),
    [("+", "A", 1), ("++", "A", 1), ("++-", "A", 1 / 3), ("--+", "B", 1 / 3), ("+-", None, 1),
     ("+=", "A", 0.5), ("==", None, 1), ("-", "B", 1)],
)  # fmt: skip
def test_the_majority_decides_and_counts_as_far_as_it_goes(said, better, weight):
    [one] = agreed([row(vote, n) for n, vote in enumerate(said)])
    assert one.weight == pytest.approx(weight)
    assert one.judgement_ids == tuple(f"j{n}" for n in range(len(said)))
    if better is None:
        assert one.data["tie"]
    else:
        assert "tie" not in one.data
        assert one.data["chosen"] == [assistant(better)]


@given(votes, st.randoms())
def test_the_order_of_votes_changes_nothing(said, dice):
    shuffled = dice.sample(said, len(said))
    one, other = (agreed([row(vote) for vote in some])[0] for some in (said, shuffled))
    assert one.weight == pytest.approx(other.weight)
    assert one.data.get("tie") == other.data.get("tie")
    if not one.data.get("tie"):
        assert one.data["chosen"] == other.data["chosen"]


def test_votes_on_other_answers_are_rows_of_their_own():
    assert len(agreed([row("+"), row("+", question="R?"), row("-")])) == 2


def test_a_cut_off_side_stays_with_its_answer():
    cut = replace(row("+"), unfinished=("rejected",))
    [one] = agreed([cut, row("-"), row("-")])
    assert (one.data["rejected"], one.unfinished) == ([assistant("A")], ("chosen",))


@pytest.mark.parametrize(
    ("said", "same", "both"), [("++", 1, 1), ("+-", 0, 1), ("++-", 1, 3), ("+", 0, 0), ("+=", 0, 0)]
)
def test_raters_agree_as_often_as_two_of_their_votes(said: str, same: int, both: int):
    assert raters_agree([row(vote) for vote in said]) == (same, both)
    others = [row("+", question="Another?")]
    assert raters_agree([row(vote) for vote in said] + others) == (same, both)
