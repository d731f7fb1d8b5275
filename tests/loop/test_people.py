"""The simulated people judge by their rules, and the numbers of the table follow from that."""

import pytest

from tests.loop.people import RULES, person
from tests.loop.questions import questions
from tests.loop.report import interval, summary

LIST = "Try these:\n- apples\n- pears"


@pytest.mark.parametrize(
    ("rule", "answer", "liked"),
    [
        ("list", LIST, True),
        ("list", "1. Red\n2. Blue", True),
        ("list", "1. Red", False),
        ("list", "Red - blue - green", False),
        ("brief", "word " * 60, True),
        ("brief", "word " * 61, False),
        ("brief", "", False),
        ("you", "You're welcome.", True),
        ("you", "It is yours.", False),
        ("you", "Young people know.", False),
    ],
)
def test_a_rule_sees_what_it_says(rule: str, answer: str, liked: bool):
    assert RULES[rule](answer) is liked


def test_a_person_prefers_what_complies_and_says_where_neither_is_better():
    judge = person("list", 0)
    assert judge.choice(LIST, "Red.") == "first"
    assert judge.choice("Red.", LIST) == "second"
    assert judge.choice(LIST, LIST) == "tie"
    assert judge.choice("Red.", "Blue.") == "both_bad"
    assert judge.thumb(LIST) == "up"


def test_the_random_person_says_the_same_again_only_for_the_same_seed():
    said = [[person("random", seed).thumb("x") for _ in range(1)] for seed in range(20)]
    assert said == [[person("random", seed).thumb("x") for _ in range(1)] for seed in range(20)]
    assert {thumb for thumbs in said for thumb in thumbs} == {"up", "down"}


def test_sets_of_questions_share_neither_text_nor_family():
    sets = [questions(purpose) for purpose in ("collect", "trial", "final")]
    assert [len(texts) for texts in sets] == [300, 180, 220]
    assert len({text.lower() for texts in sets for text in texts}) == 700


def test_a_summary_counts_ties_half_and_reports_length():
    def side(text: str, tokens: int) -> dict[str, object]:
        return {"text": text, "tokens": tokens, "finish": "stop"}

    pairs = [
        {"new": side(LIST, 9), "old": side("Red.", 2)},
        {"new": side(LIST, 9), "old": side(LIST, 9)},
        {"new": side("Red.", 2), "old": side("Blue.", 1)},
        {"new": side("Red.", 2), "old": side(LIST, 9)},
    ]
    found = summary(pairs, person("list", 0))
    assert found["win_rate"] == 0.5
    assert found["new"]["compliance"] == found["old"]["compliance"] == 0.5
    assert found["longer"] == (1 + 0.5 + 1 + 0) / 4


def test_an_interval_holds_the_mean_and_shrinks_with_more_questions():
    few, many = interval([0.0, 1.0] * 10), interval([0.0, 1.0] * 200)
    assert few[0] < many[0] < 0.5 < many[1] < few[1]
