"""Comparisons: which votes decide a trial, and what they are worth to its candidate."""

from dataclasses import dataclass, replace

import pytest

from assistant.errors import NotFound
from assistant.feedback.comparisons import split_answer_id
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, BOB, ask, just_before, made, raw

TRIAL, CANDIDATE, CURRENT = "trial-001", "v2", "v1"


@dataclass(frozen=True)
class Drawn:
    """A pair as it was shown: the comparison, its conversation, the two answers."""

    id: str
    conversation: str
    first: str
    second: str


def draw(
    store: FeedbackStore,
    first: str = CANDIDATE,
    second: str = CURRENT,
    *,
    trial: str | None = TRIAL,
    owner: str = ANN,
    blind: bool = True,
) -> Drawn:
    """Two answers by these versions, shown in this order."""
    talk = ask(store, owner=owner)
    answers = [
        store.conversations.add(
            *(talk.conversation, talk.question, "assistant", f"By {version}.", "model"),
            replace(made(), version=version),
        ).id
        for version in (first, second)
    ]
    kind = "samples" if first == second else "versions"
    comparison = store.comparisons.draw(talk.conversation, *answers, kind, blind=blind, trial=trial)
    return Drawn(comparison, talk.conversation, *answers)


def vote(store: FeedbackStore, drawn: Drawn, choice: str, owner: str = ANN):
    return store.judgements.compared(owner, "compare", drawn.id, choice)


def votes(store: FeedbackStore, trial: str = TRIAL, candidate: str = CANDIDATE) -> list[float]:
    return store.comparisons.votes(trial, candidate)


@pytest.mark.parametrize(
    ("choice", "shown_first", "shown_second"),
    [("first", 1.0, 0.0), ("second", 0.0, 1.0), ("tie", 0.5, 0.5), ("both_bad", 0.5, 0.5)],
)
def test_a_vote_counts_for_the_side_the_candidate_was_shown_on(
    store: FeedbackStore, choice: str, shown_first: float, shown_second: float
):
    vote(store, draw(store, CANDIDATE, CURRENT), choice)
    assert votes(store) == [shown_first]
    vote(store, draw(store, CURRENT, CANDIDATE), choice)
    assert votes(store) == [shown_first, shown_second]
    assert votes(store, candidate=CURRENT) == [1 - shown_first, 1 - shown_second]


def test_votes_come_in_the_order_they_were_given(store: FeedbackStore):
    early, late = draw(store), draw(store)
    assert votes(store) == []
    vote(store, late, "first")
    vote(store, early, "second")
    assert votes(store) == [1.0, 0.0]


def test_who_votes_again_changes_the_vote(store: FeedbackStore):
    drawn, other = draw(store), draw(store)
    vote(store, drawn, "first")
    vote(store, other, "tie")
    vote(store, drawn, "second")
    assert sorted(votes(store)) == [0.0, 0.5]


def test_a_vote_taken_back_does_not_count(store: FeedbackStore):
    drawn, other = draw(store), draw(store)
    given = vote(store, drawn, "first")
    vote(store, other, "second")
    store.judgements.withdraw(ANN, "compare", given.id)
    assert votes(store) == [0.0]
    vote(store, drawn, "tie")
    assert votes(store) == [0.0, 0.5]


def test_taking_back_a_changed_vote_does_not_bring_the_first_one_back(store: FeedbackStore):
    drawn = draw(store)
    vote(store, drawn, "first")
    store.judgements.withdraw(ANN, "compare", vote(store, drawn, "second").id)
    assert votes(store) == []


def test_votes_of_several_people_all_count(store: FeedbackStore):
    for owner in (ANN, BOB):
        vote(store, draw(store, owner=owner), "first", owner)
    assert votes(store) == [1.0, 1.0]


def test_only_blind_pairs_drawn_for_the_trial_count(store: FeedbackStore):
    counted = draw(store)
    vote(store, counted, "first")
    for other in (
        draw(store, trial=None),
        draw(store, trial="trial-002"),
        draw(store, CURRENT, CURRENT, trial=None),
        draw(store, CURRENT, "v0"),  # noted for the trial, though the candidate was not shown
        draw(store, blind=False),
    ):
        vote(store, other, "first")
    assert votes(store) == [1.0]
    assert votes(store, "trial-002") == [1.0]
    assert votes(store, "trial-003") == []


def test_pairs_that_a_client_chose_never_count(store: FeedbackStore):
    drawn, judgements = draw(store), store.judgements
    judgements.pair(ANN, "api", drawn.first, drawn.second, "first")
    judgements.ranking(ANN, "api", [[drawn.first], [drawn.second]])
    judgements.thumb(ANN, "api", drawn.first, "up")
    assert votes(store) == []
    vote(store, drawn, "second")
    judgements.pair(ANN, "api", drawn.first, drawn.second, "first")
    assert votes(store) == [0.0]


def test_a_vote_still_counts_when_its_conversation_was_deleted(store: FeedbackStore):
    drawn = draw(store)
    vote(store, drawn, "first")
    store.conversations.erase(drawn.conversation, ANN)
    assert votes(store) == [1.0]


@pytest.mark.parametrize("part", ["SELECT judged.", "SELECT judgement.", "SELECT comparison.id"])
def test_votes_given_while_they_are_counted_do_no_harm(store: FeedbackStore, part: str):
    vote(store, draw(store), "first")
    with just_before(part, lambda: vote(store, draw(store), "second")):
        assert votes(store) in ([1.0], [1.0, 0.0])
    assert votes(store) == [1.0, 0.0]


def test_the_latest_judgement_grows_whenever_there_is_something_to_count(store: FeedbackStore):
    seen = [store.comparisons.latest_judgement()]
    assert seen == [0]
    drawn = draw(store)
    assert store.comparisons.latest_judgement() == 0
    given = vote(store, drawn, "first")
    seen.append(store.comparisons.latest_judgement())
    vote(store, drawn, "tie")
    seen.append(store.comparisons.latest_judgement())
    store.judgements.withdraw(ANN, "compare", given.id)
    seen.append(store.comparisons.latest_judgement())
    assert seen == sorted(set(seen))


def test_a_pair_is_noted_as_it_was_shown(store: FeedbackStore):
    drawn = draw(store)
    (row,) = raw(store)["comparison"]
    assert (row["id"], row["conversation_id"], row["trial"]) == (
        *(drawn.id, drawn.conversation, TRIAL),
    )
    assert (row["first_id"], row["second_id"]) == (drawn.first, drawn.second)
    assert drawn.id.startswith("cmp_")


def test_the_answers_of_a_pair_are_named_by_their_side(store: FeedbackStore):
    drawn = draw(store)
    for position, message in enumerate((drawn.first, drawn.second)):
        named = split_answer_id(f"{drawn.id}#{position}")
        assert named == (drawn.id, position)
        assert store.comparisons.answer(*named, ANN) == message
    assert split_answer_id("chatcmpl-1#0") is None
    for wrong in (drawn.id, f"{drawn.id}#", f"{drawn.id}#2", f"{drawn.id}#00", f"{drawn.id}#x"):
        with pytest.raises(NotFound, match="'#0' and '#1'"):
            split_answer_id(wrong)


def test_somebody_elses_pair_is_like_a_missing_one(store: FeedbackStore):
    drawn = draw(store)
    said = []
    for comparison in (drawn.id, "cmp_gone"):
        with pytest.raises(NotFound) as caught:
            store.comparisons.answer(comparison, 0, BOB)
        said.append(str(caught.value).replace(comparison, "ID"))
    assert said[0] == said[1]
    with pytest.raises(NotFound):
        vote(store, drawn, "first", BOB)
    assert votes(store) == []
