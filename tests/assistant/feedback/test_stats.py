"""Statistics: what was said, and what training could use of it."""

from assistant.feedback.stats import count
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, BOB, ask


def test_an_empty_store_counts_nothing(store: FeedbackStore):
    counts = count(store)
    assert (counts["conversations"], counts["consented"], counts["judgements"]) == (0, 0, {})
    assert [shape["rows"] for shape in counts["rows"].values()] == [0, 0, 0]


def test_judgements_in_effect_are_counted_by_kind(store: FeedbackStore):
    talk, silent = ask(store, "One.", "Other."), ask(store, "Bob's.", owner=BOB, consent=False)
    judgements = store.judgements
    judgements.thumb(ANN, "chat", talk.answers[0], "up")
    judgements.thumb(ANN, "chat", talk.answers[0], "down")
    judgements.pair(ANN, "chat", *talk.answers, "tie")
    judgements.correction(ANN, "chat", talk.answers[0], "Right.")
    judgements.thumb(BOB, "chat", silent.answers[0], "up")
    counts = count(store)
    assert (counts["conversations"], counts["consented"]) == (2, 1)
    assert counts["judgements"] == {
        "correction": 1, "pair tie": 1, "thumb down": 1, "thumb up": 1,
    }  # fmt: skip
    assert counts["rows"]["unpaired"]["rows"] == 3  # the thumb, both sides of the tie
    assert counts["rows"]["unpaired"]["left_out"]["no consent"] == 1
