"""Rows of the studies: who is better, turned around, and what may be learnt."""

from align.sampling import Sampled
from tests.loop.people import person
from tests.numbers.drawn import Pair, flipped, pairs, sides, usable, verdicts, with_ties

LIST, PROSE = Sampled("- a\n- b", 5, True), Sampled("a and b", 4, True)
CUT = Sampled("- a\n- b\n- c", 9, False)
JUDGE = person("list", 0)
DRAWN = [
    Pair("q0", (PROSE, LIST)),
    Pair("q1", (PROSE, PROSE)),
    Pair("q2", (LIST, LIST)),
    Pair("q3", (CUT, PROSE)),
]


def text(row, side: str) -> str:
    return str(row.data[side][0]["content"])


def test_the_better_side_is_chosen_and_ties_are_rows_if_wanted():
    rows = pairs(DRAWN, JUDGE)
    assert [(text(row, "chosen"), text(row, "rejected")) for row in rows] == [
        (LIST.text, PROSE.text),
        (CUT.text, PROSE.text),
    ]
    assert [row.data["tie"] for row in pairs(DRAWN, JUDGE, tied=True)] == [False, True, True, False]
    assert {row.temperature for row in rows} == {0.8}


def test_verdicts_are_of_undecided_pairs_or_of_all():
    assert [row.data["label"] for row in verdicts(DRAWN, JUDGE)] == [False, False, True, True]
    assert len(verdicts(DRAWN, JUDGE, of_all=True)) == 8


def test_a_share_is_turned_around_the_same_for_the_same_seed():
    rows = pairs(DRAWN * 5, JUDGE)
    turned = flipped(rows, 0.2, 1)
    wrong = [place for place, row in enumerate(turned) if row.data != rows[place].data]
    assert len(wrong) == 2
    assert turned == flipped(rows, 0.2, 1)
    for place in wrong:
        assert text(turned[place], "chosen") == text(rows[place], "rejected")
    labels = [row.data["label"] for row in flipped(verdicts(DRAWN, JUDGE), 1.0, 0)]
    assert labels == [True, True, False, False]
    assert flipped(pairs(DRAWN[1:3], JUDGE, tied=True), 1.0, 0) == pairs(DRAWN[1:3], JUDGE, True)


def test_a_good_answer_that_was_cut_off_is_not_learnt_and_a_bad_one_is():
    assert len(usable(pairs(DRAWN, JUDGE))) == 1
    [turned] = usable(flipped(pairs(DRAWN[3:], JUDGE), 1.0, 0))
    assert turned.unfinished == ("rejected",)
    sides = verdicts(DRAWN[3:], JUDGE, of_all=True)
    assert [row.data["label"] for row in usable(sides)] == [False]


def test_sides_of_a_pair_are_verdicts_and_only_the_cut_one_is_unfinished():
    good, bad = sides(pairs(DRAWN[3:], JUDGE))
    assert (good.data["label"], bad.data["label"]) == (True, False)
    assert good.data["completion"][0]["content"] == CUT.text
    assert (good.unfinished, bad.unfinished) == (("completion",), ())


def test_there_are_no_more_ties_than_pairs_with_a_better_side():
    rows = with_ties(DRAWN, JUDGE)
    assert [row.data["tie"] for row in rows] == [False, True]
