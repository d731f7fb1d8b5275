"""Likelihood: better, worse and neither are all there is, and ties are as common as people said."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align.likelihood import share_of_ties, surprise, tie_width
from assistant.errors import Invalid

differences = st.floats(-20, 20)


@given(differences, st.floats(0.01, 0.9))
def test_the_three_outcomes_of_a_comparison_are_all_there_is(difference: float, tied: float):
    width = tie_width(tied)
    d = torch.tensor([difference], dtype=torch.float64)
    no, yes = torch.tensor([False]), torch.tensor([True])
    better, worse, tie = (
        math.exp(-surprise(x, t, width).item()) for x, t in ((d, no), (-d, no), (d, yes))
    )
    assert better + worse + tie == pytest.approx(1)


@given(st.floats(0.01, 0.9))
def test_equal_answers_tie_as_often_as_people_said(tied: float):
    found = surprise(torch.zeros(1), torch.tensor([True]), tie_width(tied)).item()
    assert math.exp(-found) == pytest.approx(tied, rel=1e-4)


def test_ties_alone_teach_nothing():
    assert share_of_ties([{"tie": True}, {}, {"tie": False}, {}]) == 0.25
    with pytest.raises(Invalid, match="All 2 pairs are ties"):
        share_of_ties([{"tie": True}] * 2)


@given(differences)
def test_without_ties_it_is_bradley_terry(difference: float):
    assert tie_width(0) == 0
    found = surprise(torch.tensor([difference]), torch.tensor([False]), 0).item()
    assert found == pytest.approx(math.log1p(math.exp(-difference)), abs=1e-4)
