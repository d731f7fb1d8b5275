"""Erasure: what was said is gone from every table, and that it happened stays."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from assistant.errors import Invalid, NotFound
from assistant.feedback import schema
from assistant.feedback.rows import SHAPES, build
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import (
    ANN,
    BOB,
    NOTICE,
    Asked,
    ask,
    data,
    just_before,
    keep,
    made,
    raw,
    rows,
    tables_that_hold,
)

SECRET = "xyzzy"


def _secret_talk(store: FeedbackStore, owner: str = ANN) -> Asked:
    """A conversation that says the secret wherever something can be said."""
    talk = ask(store, f"{SECRET} 1", f"{SECRET} 2", owner=owner, question=f"{SECRET}?")
    sampling = {"stop": [SECRET]}
    store.conversations.add(
        *(talk.conversation, talk.question, "assistant", f"{SECRET} 3", "model"),
        made(sampling=sampling),
    )
    judgements = store.judgements
    judgements.thumb(owner, "chat", talk.answers[0], "up", ["kind"], f"{SECRET}!")
    judgements.correction(owner, "chat", talk.answers[1], f"better {SECRET}")
    given = judgements.pair(owner, "chat", *talk.answers, "first")
    judgements.withdraw(owner, "chat", given.id)
    return talk


def test_what_was_said_is_gone_from_every_table(store: FeedbackStore):
    talk = _secret_talk(store)
    assert tables_that_hold(store, SECRET) == {
        *("conversation", "message", "generation", "judgement")
    }
    store.conversations.erase(talk.conversation, ANN)
    assert tables_that_hold(store, SECRET) == set()


def test_a_kept_completion_is_gone_with_its_metadata(store: FeedbackStore):
    conversation = keep(
        *(store, "cmpl-1", f"{SECRET} 1", f"{SECRET} 2"),
        turns=[("system", SECRET), ("user", SECRET)],
        metadata={"user": SECRET},
    )
    keep(store, "cmpl-2", "Untouched.", metadata={"user": "bob"})
    assert tables_that_hold(store, SECRET) == {"conversation", "message", "completion"}
    store.conversations.erase(conversation, ANN)
    assert tables_that_hold(store, SECRET) == set()
    with pytest.raises(NotFound):
        store.completions.get("cmpl-1", ANN)
    assert store.completions.get("cmpl-2", ANN).metadata == {"user": "bob"}


def test_the_events_stay_as_tombstones(store: FeedbackStore):
    talk = _secret_talk(store)
    before = raw(store)
    store.conversations.erase(talk.conversation, ANN)
    after = raw(store)
    for table in before:
        assert _skeleton(after[table]) == _skeleton(before[table])
    assert all(row["content"] is None and row["erased_at"] for row in after["message"])
    assert all(row["title"] is None and row["erased_at"] for row in after["conversation"])
    assert [row["choice"] for row in after["judgement"]] == ["up", None, "first", None]


def _skeleton(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows without what erasure may change."""
    blanked = {"content", "title", "comment", "sampling", "metadata", "erased_at"}
    return [{k: v for k, v in row.items() if k not in blanked} for row in found]


def test_others_are_left_alone(store: FeedbackStore):
    talk, kept = _secret_talk(store), _secret_talk(store)
    bobs = _secret_talk(store, owner=BOB)
    untouched = [store.conversations.tree(t.conversation) for t in (kept, bobs)]
    store.conversations.erase(talk.conversation, ANN)
    assert [store.conversations.tree(t.conversation) for t in (kept, bobs)] == untouched
    comments = [row["comment"] for row in raw(store)["judgement"] if row["comment"]]
    assert comments == [f"{SECRET}!"] * 2
    assert [c.id for c in store.conversations.of(ANN, "chat")] == [kept.conversation]


def test_an_owner_can_be_erased_altogether(store: FeedbackStore):
    _secret_talk(store)
    _secret_talk(store)
    bobs = ask(store, "Bob's.", owner=BOB)
    store.judgements.thumb(BOB, "chat", bobs.answers[0], "up", comment="Bob's, too.")
    assert store.conversations.erase_owner(ANN) == 2
    assert tables_that_hold(store, SECRET) == set()
    assert tables_that_hold(store, "Bob's") == {"message", "judgement"}
    assert store.conversations.of(ANN, "chat") == []
    assert store.conversations.erase_owner(ANN) == 0


def test_an_owner_of_very_many_conversations_can_be_erased(store: FeedbackStore):
    many = 70_000  # more than a statement may have parameters
    with store.engine.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO conversation (id, owner, surface, title, created_at) "
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many}) "
            f"SELECT 'conv_' || i, '{ANN}', 'import', '{SECRET}', i FROM n"
        )
    assert store.conversations.erase_owner(ANN) == many
    with store.engine.connect() as connection:
        titles = connection.scalars(sa.select(schema.conversation.c.title).distinct()).all()
    assert titles == [None]


def test_a_judgement_goes_when_any_of_its_answers_goes(store: FeedbackStore):
    keep(store, "cmpl-1", "Same question, one.")
    second = keep(store, "cmpl-2", "Same question, other.")
    first_id, second_id = (store.completions.message_id(i, ANN) for i in ("cmpl-1", "cmpl-2"))
    given = store.judgements.pair(ANN, "api", first_id, second_id, "first")
    store.conversations.erase(second, ANN)
    assert store.judgements.get(given.id, ANN).erased_at is not None
    assert store.conversations.message(first_id, ANN).content == "Same question, one."


def test_what_is_erased_makes_no_rows(store: FeedbackStore):
    talk = _secret_talk(store)
    assert all(data(store, shape) for shape in SHAPES)
    store.conversations.erase(talk.conversation, ANN)
    for shape in SHAPES:
        assert data(store, shape) == []
        assert rows(store, shape).left_out["deleted"] == 2


def test_what_is_erased_while_rows_are_read_makes_no_rows(store: FeedbackStore):
    talk = _secret_talk(store)
    with just_before("FROM message", lambda: store.conversations.erase(talk.conversation, ANN)):
        snapshot = store.snapshot()
    assert snapshot.judgements[0].erased_at is None
    for shape in SHAPES:
        assert build(shape, snapshot).rows == []


def test_erased_messages_cannot_be_judged(store: FeedbackStore):
    talk = _secret_talk(store)
    comparison = store.comparisons.draw(talk.conversation, *talk.answers, "samples", blind=True)
    store.conversations.erase(talk.conversation, ANN)
    before = raw(store)
    one, other = talk.answers
    judgements = store.judgements
    for judge in (
        lambda: judgements.thumb(ANN, "chat", one, "up", comment=SECRET),
        lambda: judgements.pair(ANN, "chat", one, other, "first"),
        lambda: judgements.ranking(ANN, "chat", [[one], [other]]),
        lambda: judgements.correction(ANN, "chat", one, SECRET),
        lambda: judgements.compared(ANN, "chat", comparison, "first"),
    ):
        with pytest.raises(Invalid, match="was deleted"):
            judge()
    assert raw(store) == before


def test_an_erased_conversation_is_over(store: FeedbackStore):
    conversations = store.conversations
    talk = _secret_talk(store)
    conversations.erase(talk.conversation, ANN)
    for act in (
        lambda: conversations.add(talk.conversation, talk.question, "user", SECRET),
        lambda: conversations.get(talk.conversation, ANN),
        lambda: conversations.erase(talk.conversation, ANN),
        lambda: conversations.set_consent(ANN, talk.conversation, True, NOTICE),
    ):
        with pytest.raises(NotFound):
            act()
    assert conversations.message(talk.question, ANN).content is None
    assert tables_that_hold(store, SECRET) == set()


def test_a_judgement_of_what_was_erased_can_still_be_withdrawn(store: FeedbackStore):
    talk = ask(store, "One.")
    given = store.judgements.thumb(ANN, "chat", talk.answers[0], "up")
    store.conversations.erase(talk.conversation, ANN)
    store.judgements.withdraw(ANN, "chat", given.id)
    assert store.judgements.about(talk.answers, ANN) == []


def test_what_is_said_during_an_erasure_is_erased_too(store: FeedbackStore):
    talk = ask(store, "One.")
    with _erased_just_before(store, talk, "INSERT INTO message "):
        store.conversations.add(talk.conversation, talk.question, "user", SECRET)
    assert tables_that_hold(store, SECRET) == set()


def test_what_is_judged_during_an_erasure_is_erased_too(store: FeedbackStore):
    talk = ask(store, "One.")
    with _erased_just_before(store, talk, "INSERT INTO judgement "):
        store.judgements.thumb(ANN, "chat", talk.answers[0], "up", comment=SECRET)
    assert tables_that_hold(store, SECRET) == set()
    assert store.judgements.all()[0].erased_at is not None


@contextmanager
def _erased_just_before(store: FeedbackStore, talk: Asked, statement: str) -> Iterator[None]:
    """Somebody erases the conversation between what a transaction reads and what it writes."""
    erasing = threading.Thread(target=store.conversations.erase, args=(talk.conversation, ANN))

    def begin_erasing() -> None:
        erasing.start()
        erasing.join(0.3)  # it should wait for the transaction; if it does not, it is done by now

    with just_before(statement, begin_erasing):
        yield
    erasing.join(10)
    assert not erasing.is_alive()
