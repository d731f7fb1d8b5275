"""The verdict: sure only of what is so, however often one looks, and as soon as it may be."""

import numpy as np
import pytest

from assistant.verdict import ALPHA, FORESIGHT, LEAST_VOTES, _Gamblers, bounds, judge


def voted(seed: int, runs: int, votes: int, rate: float, ties: float = 0.0) -> np.ndarray:
    """Runs of votes of which a share are ties and the rest are won so that the mean is `rate`."""
    rng = np.random.default_rng(seed)
    won = (rate - ties / 2) / (1 - ties)
    tied = rng.random((runs, votes)) < ties
    return np.where(tied, 0.5, rng.random((runs, votes)) < won)


def ever_refuted(rate: float, runs: np.ndarray) -> np.ndarray:
    """Which runs were sure, after any of their votes, that their mean is not `rate`."""
    gamblers = _Gamblers(np.full(len(runs), rate))
    refuted = np.zeros(len(runs), dtype=bool)
    for votes in runs.T:
        gamblers.bet(votes)
        refuted |= gamblers.sure_higher | gamblers.sure_lower
    return refuted


def holds(rate: float, votes: list[float]) -> bool:
    lower, upper = bounds(votes)
    return lower <= rate <= upper


def test_a_fair_coin_is_hardly_ever_decided_though_one_looks_after_every_vote():
    runs = voted(1, runs=400, votes=200, rate=0.5)
    misled = ever_refuted(0.5, runs)
    assert 0 < sum(misled) <= ALPHA * len(runs)
    some = [*np.flatnonzero(misled)[:5], *np.flatnonzero(~misled)[:25]]
    assert [holds(0.5, runs[i].tolist()) for i in some] == [not misled[i] for i in some]
    for i in some[5:]:
        assert judge(runs[i].tolist()).decision == "ask"


@pytest.mark.parametrize(
    ("rate", "ties"), [(0.05, 0.0), (0.3, 0.0), (0.5, 0.0), (0.5, 0.7), (0.55, 0.85), (0.75, 0.2)]
)
def test_the_true_rate_stays_within_the_bounds(rate: float, ties: float):
    runs = voted(2, runs=2000, votes=1000, rate=rate, ties=ties)
    assert np.mean(ever_refuted(rate, runs)) <= ALPHA


def test_votes_that_depend_on_earlier_ones_do_not_mislead():
    """After two equal votes most people vote for a tie; each vote alone is still a fair one."""
    runs = voted(3, runs=2000, votes=500, rate=0.5)
    ties = np.random.default_rng(4).random(runs.shape) < 0.9
    for n in range(2, runs.shape[1]):
        alike = runs[:, n - 1] == runs[:, n - 2]
        runs[:, n] = np.where(alike & ties[:, n], 0.5, runs[:, n])
    assert np.mean(ever_refuted(0.5, runs)) <= ALPHA


def test_bounds_only_ever_tighten():
    (votes,) = voted(4, runs=1, votes=120, rate=0.65, ties=0.1).tolist()
    lower, upper = zip(*(bounds(votes[:count]) for count in range(len(votes) + 1)), strict=True)
    assert list(lower) == sorted(lower)
    assert list(upper) == sorted(upper, reverse=True)
    assert (lower[0], upper[0]) == (0.0, 1.0)
    assert upper[-1] - lower[-1] < 0.35


def test_a_clear_winner_is_promoted_but_not_before_fifty_votes():
    assert LEAST_VOTES == 50
    before, after = judge([1.0] * 49), judge([1.0] * 50)
    assert (before.decision, after.decision) == ("ask", "promote")
    assert before.lower > 0.5
    assert (before.more, after.more) == (1, 0)
    assert (after.votes, after.win_rate, after.upper) == (50, 1.0, 1.0)


def test_a_clear_loser_is_withdrawn_long_before():
    verdict = judge([0.0] * 12)
    assert (verdict.decision, verdict.win_rate, verdict.lower) == ("withdraw", 0.0, 0.0)
    assert verdict.upper < 0.5
    assert judge([0.0] * 3).decision == "ask"


def test_most_candidates_that_win_seventy_of_a_hundred_are_promoted():
    runs = voted(5, runs=40, votes=120, rate=0.7).tolist()
    decisions = [judge(votes).decision for votes in runs if bounds(votes)[0] > 0.5]
    assert len(decisions) >= 0.8 * len(runs)
    assert set(decisions) == {"promote"}


def test_without_votes_there_is_nothing_to_say_but_how_many_it_takes():
    verdict = judge([])
    assert (verdict.votes, verdict.win_rate, verdict.decision) == (0, None, "ask")
    assert (verdict.lower, verdict.upper) == (0.0, 1.0)


def test_a_tie_is_half_a_win():
    assert judge([1.0, 0.5, 0.5, 0.0]).win_rate == 0.5
    assert judge([0.5] * 200).decision == "ask"
    lower, upper = bounds([0.5] * 200)
    assert lower < 0.5 < upper
    assert upper - lower < 0.1  # ties are evidence that there is hardly a difference


def test_looking_does_not_change_what_is_seen():
    (votes,) = voted(7, runs=1, votes=60, rate=0.6).tolist()
    looked = [judge(votes[:count]) for count in (10, 30, 60)]
    assert [judge(votes[:count]) for count in (60, 30, 10)] == looked[::-1]
    assert judge(tuple(votes)) == looked[-1]


def test_how_many_more_votes_is_about_what_it_takes():
    (votes,) = voted(8, runs=1, votes=30, rate=0.65).tolist()
    told = judge(votes).more
    assert told is not None
    took = []
    for future in voted(9, runs=15, votes=600, rate=np.mean(votes)).tolist():
        known = [*votes, *future]
        took.append(next(n for n in range(1, 600) if decided(known[: len(votes) + n])))
    assert np.median(took) / 2 <= told <= 2 * np.median(took)


def decided(votes: list[float]) -> bool:
    lower, upper = bounds(votes)
    return upper < 0.5 or (lower > 0.5 and len(votes) >= LEAST_VOTES)


def test_more_votes_are_needed_the_less_clear_it_is():
    clear, open_ = judge([1.0, 1.0, 1.0, 0.0] * 5), judge([1.0, 1.0, 0.0] * 7)
    assert clear.more is not None
    assert open_.more is not None
    assert 0 < clear.more < open_.more <= FORESIGHT
    assert judge([1.0, 0.0] * 30).more is None  # no end in sight
