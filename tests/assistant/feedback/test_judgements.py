"""Judgements: what may be said about which answers, and what still counts."""

import pytest

from assistant.errors import Invalid, NotFound
from assistant.feedback.records import REASONS, Judgement, Target
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, BOB, ask, just_before, keep, raw


def test_a_thumb_is_kept_with_its_reasons_and_comment(store: FeedbackStore):
    (answer,) = ask(store, "One.").answers
    given = store.judgements.thumb(
        ANN, "chat", answer, "down", ["too_long", "wrong", "too_long"], "  No.\n"
    )
    assert (given.kind, given.choice, given.owner, given.surface) == ("thumb", "down", ANN, "chat")
    assert given.reasons == ("too_long", "wrong")
    assert given.comment == "No."
    assert given.targets == (Target(answer, 0),)
    assert store.judgements.get(given.id, ANN) == given
    assert store.judgements.all() == [given]


@pytest.mark.parametrize("choice", REASONS)
def test_every_reason_fits_its_thumb_and_no_other(store: FeedbackStore, choice: str):
    (answer,) = ask(store, "One.").answers
    given = store.judgements.thumb(ANN, "chat", answer, choice, REASONS[choice])
    assert given.reasons == REASONS[choice]
    other = "down" if choice == "up" else "up"
    for reason in (*REASONS[other], "because", ""):
        with pytest.raises(Invalid, match="is no reason for") as caught:
            store.judgements.thumb(ANN, "chat", answer, choice, [reason])
        assert caught.value.param == "reasons"
    assert store.judgements.all() == [given]


def test_a_comment_of_blanks_is_none_and_a_long_one_is_refused(store: FeedbackStore):
    (answer,) = ask(store, "One.").answers
    assert store.judgements.thumb(ANN, "chat", answer, "up", comment=" \n ").comment is None
    assert store.judgements.thumb(ANN, "chat", answer, "up", comment="x" * 4000).comment
    with pytest.raises(Invalid, match="4000"):
        store.judgements.thumb(ANN, "chat", answer, "up", comment="x" * 4001)


def test_a_rating_is_up_or_down(store: FeedbackStore):
    (answer,) = ask(store, "One.").answers
    with pytest.raises(Invalid, match="'up' or 'down'"):
        store.judgements.thumb(ANN, "chat", answer, "sideways")


def test_two_answers_make_a_pair(store: FeedbackStore):
    one, other = ask(store, "One.", "Other.").answers
    for choice in ("first", "second", "tie", "both_bad"):
        given = store.judgements.pair(ANN, "chat", other, one, choice)
        assert (given.kind, given.choice) == ("pair", choice)
        assert given.targets == (Target(other, 0), Target(one, 1))
        assert given.comparison_id is None
    with pytest.raises(Invalid, match="first, second, tie, both_bad"):
        store.judgements.pair(ANN, "chat", one, other, "third")


def test_a_ranking_keeps_order_and_ties(store: FeedbackStore):
    a, b, c, d = ask(store, "A", "B", "C", "D").answers
    given = store.judgements.ranking(ANN, "api", [[c], [a, d], [b]])
    assert given.targets == (Target(c, 0, 0), Target(a, 1, 1), Target(d, 2, 1), Target(b, 3, 2))
    assert store.judgements.get(given.id, ANN) == given


def test_a_ranking_needs_two_distinct_answers_and_no_empty_group(store: FeedbackStore):
    one, other = ask(store, "One.", "Other.").answers
    for groups in ([], [[one]], [[one], []], [[], [one, other]]):
        with pytest.raises(Invalid, match="at least two answers"):
            store.judgements.ranking(ANN, "api", groups)
    with pytest.raises(Invalid, match="named twice"):
        store.judgements.ranking(ANN, "api", [[one], [other, one]])
    with pytest.raises(Invalid, match="named twice"):
        store.judgements.pair(ANN, "api", one, one, "tie")


def test_a_correction_is_a_sibling_written_by_a_person(store: FeedbackStore):
    talk = ask(store, "Wrong.")
    given = store.judgements.correction(ANN, "chat", talk.answers[0], "Right.")
    assert given.targets == (Target(talk.answers[0], 0),)
    better = store.conversations.message(given.corrected_id, ANN)
    assert (better.role, better.author, better.content) == ("assistant", "person", "Right.")
    assert (better.conversation_id, better.parent_id) == (talk.conversation, talk.question)
    assert better.generation is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), (" \n", "empty"), ("Same.", "equals"), ("x" * 100_001, "100000")],
)
def test_a_correction_says_something_new(store: FeedbackStore, text: str, reason: str):
    (answer,) = ask(store, "Same.").answers
    before = raw(store)
    with pytest.raises(Invalid, match=reason):
        store.judgements.correction(ANN, "chat", answer, text)
    assert raw(store) == before


def test_a_comparison_is_judged_with_its_sides_as_drawn(store: FeedbackStore):
    talk = ask(store, "One.", "Other.")
    one, other = talk.answers
    drawn = store.comparisons.draw(talk.conversation, other, one, "versions", blind=True)
    given = store.judgements.compared(ANN, "compare", drawn, "first")
    assert given.targets == (Target(other, 0), Target(one, 1))
    assert (given.kind, given.choice, given.comparison_id) == ("pair", "first", drawn)
    (row,) = raw(store)["comparison"]
    assert (row["drawn"], bool(row["blind"])) == ("versions", True)
    with pytest.raises(Invalid, match="A choice is one of"):
        store.judgements.compared(ANN, "compare", drawn, "neither")


def test_answers_to_different_prompts_are_refused(store: FeedbackStore):
    talk, other = ask(store, "One."), ask(store, "Other.", question="And the sea?")
    follow = store.conversations.add(talk.conversation, talk.answers[0], "user", "And the sea?")
    late = store.conversations.add(talk.conversation, follow.id, "assistant", "Deep.", "model").id
    for one, two in ((talk.answers[0], other.answers[0]), (late, other.answers[0])):
        with pytest.raises(Invalid, match="different prompts"):
            store.judgements.pair(ANN, "api", one, two, "first")
        with pytest.raises(Invalid, match="different prompts"):
            store.judgements.ranking(ANN, "api", [[one], [two]])
    assert store.judgements.all() == []


def test_answers_to_the_same_prompt_are_compared_across_conversations(store: FeedbackStore):
    for number, text in enumerate(("One.", "Other.")):
        keep(store, f"cmpl-{number}", text, turns=[("system", "Be kind."), ("user", "Why?")])
    keep(store, "cmpl-2", "Third.", turns=[("user", "Why?")])
    one, other, third = (store.completions.message_id(f"cmpl-{n}", ANN) for n in range(3))
    assert store.judgements.pair(ANN, "api", one, other, "second").choice == "second"
    with pytest.raises(Invalid, match="different prompts"):
        store.judgements.pair(ANN, "api", one, third, "second")


def test_only_answers_are_judged(store: FeedbackStore):
    talk = ask(store, "One.")
    for judge in (
        lambda: store.judgements.thumb(ANN, "chat", talk.question, "up"),
        lambda: store.judgements.correction(ANN, "chat", talk.question, "Better?"),
        lambda: store.judgements.pair(ANN, "chat", talk.answers[0], talk.question, "tie"),
    ):
        with pytest.raises(Invalid, match="only answers are judged"):
            judge()


def _ways_to_judge(store: FeedbackStore, ids: dict[str, str]):
    judgements, one, other = store.judgements, ids["one"], ids["other"]
    return (
        lambda: judgements.thumb(ANN, "chat", one, "up"),
        lambda: judgements.pair(ANN, "chat", one, other, "first"),
        lambda: judgements.ranking(ANN, "chat", [[one], [other]]),
        lambda: judgements.correction(ANN, "chat", one, "Better."),
        lambda: judgements.compared(ANN, "chat", ids["comparison"], "first"),
        lambda: judgements.withdraw(ANN, "chat", ids["judgement"]),
        lambda: judgements.get(ids["judgement"], ANN),
    )


def test_judging_somebody_elses_looks_exactly_like_a_missing_one(store: FeedbackStore):
    talk = ask(store, "One.", "Other.", owner=BOB)
    one, other = talk.answers
    theirs = {
        "one": one,
        "other": other,
        "comparison": store.comparisons.draw(
            talk.conversation, *talk.answers, "samples", blind=True
        ),
        "judgement": store.judgements.thumb(BOB, "chat", one, "up").id,
    }
    missing = {name: f"gone-{name}" for name in theirs}
    before = raw(store)
    refusals = [_refusals(store, ids) for ids in (theirs, missing)]
    assert refusals[0] == refusals[1]
    assert raw(store) == before


def _refusals(store: FeedbackStore, ids: dict[str, str]) -> list[str]:
    """What is answered to each way to judge, with the ids' names for the ids."""
    answers = []
    for judge in _ways_to_judge(store, ids):
        with pytest.raises(NotFound) as caught:
            judge()
        answer = str(caught.value)
        for name, value in ids.items():
            answer = answer.replace(value, name)
        answers.append(answer)
    return answers


def test_one_answer_of_somebody_else_spoils_the_pair(store: FeedbackStore):
    mine, theirs = ask(store, "Mine."), ask(store, "Theirs.", owner=BOB)
    with pytest.raises(NotFound):
        store.judgements.pair(ANN, "chat", mine.answers[0], theirs.answers[0], "first")


def test_ids_that_databases_cannot_hold_are_not_found(store: FeedbackStore):
    for odd in ("a\0b", "\ud800"):
        with pytest.raises(NotFound):
            store.judgements.thumb(ANN, "chat", odd, "up")
        with pytest.raises(NotFound):
            store.judgements.get(odd, ANN)


def test_the_latest_judgement_of_the_same_thing_counts(store: FeedbackStore):
    one, other = ask(store, "One.", "Other.").answers
    judgements = store.judgements
    judgements.thumb(ANN, "chat", one, "up")
    judgements.pair(ANN, "chat", one, other, "first")
    thumb = judgements.thumb(ANN, "chat", one, "down")
    ranking = judgements.ranking(ANN, "chat", [[one], [other]])
    pair = judgements.pair(ANN, "chat", other, one, "first")  # the same two, the other way round
    apart = judgements.thumb(ANN, "chat", other, "up")
    assert judgements.about([one, other], ANN) == [thumb, ranking, pair, apart]
    assert judgements.about([other], ANN) == [ranking, pair, apart]
    assert len(judgements.all()) == 6


def test_raters_do_not_replace_each_other(store: FeedbackStore):
    one, other = ask(store, "One.").answers[0], ask(store, "One.", owner=BOB).answers[0]
    anns = store.judgements.thumb(ANN, "chat", one, "up")
    bobs = store.judgements.thumb(BOB, "chat", other, "down")
    assert store.judgements.about([one, other], ANN) == [anns]
    assert store.judgements.about([one, other], BOB) == [bobs]


def test_a_withdrawn_judgement_does_not_count(store: FeedbackStore):
    (answer,) = ask(store, "One.").answers
    given = store.judgements.thumb(ANN, "chat", answer, "up")
    taken = store.judgements.withdraw(ANN, "api", given.id)
    assert (taken.kind, taken.withdraws_id, taken.targets) == ("withdrawal", given.id, ())
    assert store.judgements.about([answer], ANN) == []
    assert store.judgements.all() == [given, taken]


def test_withdrawing_does_not_bring_the_replaced_one_back(store: FeedbackStore):
    (answer,) = ask(store, "One.").answers
    store.judgements.thumb(ANN, "chat", answer, "up")
    store.judgements.withdraw(ANN, "chat", store.judgements.thumb(ANN, "chat", answer, "down").id)
    assert store.judgements.about([answer], ANN) == []


def test_withdrawing_a_replaced_judgement_leaves_the_newer_one(store: FeedbackStore):
    (answer,) = ask(store, "One.").answers
    old = store.judgements.thumb(ANN, "chat", answer, "up")
    new = store.judgements.thumb(ANN, "chat", answer, "down")
    store.judgements.withdraw(ANN, "chat", old.id)
    assert store.judgements.about([answer], ANN) == [new]


def test_one_can_judge_again_after_withdrawing(store: FeedbackStore):
    (answer,) = ask(store, "One.").answers
    given = store.judgements.thumb(ANN, "chat", answer, "up")
    taken = store.judgements.withdraw(ANN, "chat", given.id)
    with pytest.raises(Invalid, match="judge again"):
        store.judgements.withdraw(ANN, "chat", taken.id)
    again: Judgement = store.judgements.thumb(ANN, "chat", answer, "down")
    store.judgements.withdraw(ANN, "chat", given.id)  # once more, too late
    assert store.judgements.about([answer], ANN) == [again]


@pytest.mark.parametrize("part", ["SELECT judged.", "SELECT judgement."])
def test_a_judgement_given_while_all_are_read_is_read_whole(store: FeedbackStore, part: str):
    one, other = ask(store, "One.", "Other.").answers
    store.judgements.thumb(ANN, "chat", one, "up")
    with just_before(part, lambda: store.judgements.pair(ANN, "chat", one, other, "first")):
        found = store.judgements.all()
    assert all(judgement.targets for judgement in found)
