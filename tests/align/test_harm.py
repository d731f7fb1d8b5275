"""Harm: a candidate is refused on clear evidence, by each check for its own reason only."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from align.harm import as_facts, baselines, compare, wilson
from align.measure import Answer, Measures

CALM = Answer(stopped=True, tokens=50, refused=False, repetition=0.05)
ITEMS = 64
Change = Callable[[Answer], Answer]


def measures(*answers: Answer, loss: float = 3.0) -> Measures:
    dice = random.Random(0)
    losses = tuple(loss + dice.gauss(0, 0.3) for _ in range(18))
    return Measures(losses, answers or (CALM,) * ITEMS)


def changed(share: float, change: Change) -> Measures:
    """Measures in which a share of the answers is otherwise."""
    number = round(ITEMS * share)
    return measures(*[change(CALM)] * number, *[CALM] * (ITEMS - number))


def harmful(before: Measures, after: Measures, logps=(), lengths=()) -> list[str]:
    return [check.name for check in compare(before, after, logps, lengths) if check.harm]


def endless(answer: Answer) -> Answer:
    return replace(answer, stopped=False)


def refusing(answer: Answer) -> Answer:
    return replace(answer, refused=True)


def stuttering(answer: Answer) -> Answer:
    return replace(answer, repetition=0.9)


def test_a_version_does_no_harm_to_itself():
    same = measures()
    assert harmful(same, same) == []
    assert all(check.low == check.high == 0 for check in compare(same, same, (), ()))


@pytest.mark.parametrize(
    ("name", "change"),
    [("stopped", endless), ("refused", refusing), ("repetition", stuttering)],
)
def test_each_check_of_answers_fires_on_clear_evidence_and_alone(name: str, change: Change):
    assert harmful(measures(), changed(0.3, change)) == [name]
    assert harmful(measures(), changed(0.03, change)) == []  # two answers of 64 are no evidence
    assert harmful(changed(0.3, change), measures()) == []  # getting better is no harm


def test_less_likely_plain_text_is_harm_beyond_five_percent():
    before = measures()
    for rise, harm in ((0.02, []), (0.06, ["perplexity"]), (-0.5, [])):
        after = replace(before, losses=tuple(loss + rise for loss in before.losses))
        assert harmful(before, after) == harm


def test_a_rise_that_differs_from_text_to_text_is_no_evidence():
    before = measures()
    noisy = [loss + (3 if n == 0 else -0.05) for n, loss in enumerate(before.losses)]
    after = replace(before, losses=tuple(noisy))
    assert after.perplexity > before.perplexity * 1.05
    assert harmful(before, after) == []


def test_losses_that_are_not_numbers_are_harm():
    before = measures()
    after = replace(before, losses=(float("nan"), *before.losses[1:]))
    assert harmful(before, after) == ["perplexity"]


def test_longer_answers_are_only_reported():
    longer = measures(*[replace(CALM, tokens=200)] * ITEMS)
    [check] = [c for c in compare(measures(), longer, (), ()) if c.name == "tokens"]
    assert (check.before, check.after, check.limit, check.harm) == (50, 200, None, False)
    assert (check.low, check.high) == (150, 150)


def test_changes_are_compared_item_by_item():
    before = measures(*[replace(CALM, tokens=n * 10) for n in range(ITEMS)])
    after = measures(*[replace(CALM, tokens=n * 10 + 1) for n in range(ITEMS)])
    [check] = [c for c in compare(before, after, (), ()) if c.name == "tokens"]
    assert (check.low, check.high) == (1, 1)


def held_out(right: int, wrong: int) -> list[tuple[float, float, float, float]]:
    """Log-probabilities (better, worse before; better, worse after) of held-out pairs."""
    return [(-9, -8, -7, -8)] * right + [(-9, -8, -9, -7)] * wrong


@pytest.mark.parametrize(
    ("right", "wrong", "harm"), [(2, 14, True), (6, 10, False), (16, 0, False)]
)
def test_ranking_held_out_pairs_clearly_wrong_is_harm(right: int, wrong: int, harm: bool):
    logps, lengths = held_out(right, wrong), [(3, 5)] * (right + wrong)
    found = compare(measures(), measures(), logps, lengths)[-1]
    assert (found.name, found.harm) == ("pair_accuracy", harm)
    assert found.after == right / (right + wrong)
    assert (found.low, found.high) == wilson(right, right + wrong)
    assert f"of {right + wrong} held-out pairs; always longer 0%, always shorter 100%" in found.says


def test_pairs_count_by_what_changed_and_not_by_where_they_started():
    likelier_but_less_so = [(-9.0, -20.0, -9.0, -15.0)] * 16
    assert harmful(measures(), measures(), likelier_but_less_so, [(1, 1)] * 16) == ["pair_accuracy"]


def test_without_held_out_pairs_nothing_is_said_of_them():
    names = [check.name for check in compare(measures(), measures(), (), ())]
    assert names == ["perplexity", "stopped", "refused", "repetition", "tokens"]


def test_wilsons_interval_is_the_published_one():
    # Newcombe 1998, table I: 81 of 263 and 15 of 148, 95 %
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(20, 20)[1] == pytest.approx(1, abs=1e-12)


def test_baselines_split_ties():
    assert baselines([(5, 3), (3, 5), (9, 2), (4, 4)]) == {
        "always_longer": 0.625,
        "always_shorter": 0.375,
    }


def test_checks_are_written_as_plain_facts():
    [first, *_] = as_facts(compare(measures(), measures(), (), ()))
    assert first["name"] == "perplexity"
    assert first["limit"] == 0.05
