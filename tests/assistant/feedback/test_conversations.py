"""Conversations: trees of messages, whose they are, and consent."""

import pytest

from assistant.errors import NotFound
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, BOB, NOTICE, ask, made, raw


def test_an_answer_knows_its_way_back_to_the_root(store: FeedbackStore):
    conversations = store.conversations
    talk = ask(store, "Because of scattering.")
    again = conversations.add(talk.conversation, talk.answers[0], "user", "Of what?")
    path = conversations.path(again.id)
    assert [m.id for m in path] == [talk.question, talk.answers[0], again.id]
    assert [m.content for m in path] == [
        *("Why is the sky blue?", "Because of scattering.", "Of what?")
    ]


def test_a_path_leaves_siblings_out(store: FeedbackStore):
    talk = ask(store, "First.", "Second.")
    path = store.conversations.path(talk.answers[1])
    assert [m.id for m in path] == [talk.question, talk.answers[1]]


def test_a_path_can_be_long(store: FeedbackStore):
    conversations = store.conversations
    conversation, last, said = conversations.start(ANN, "chat").id, None, []
    for turn in range(150):
        last = conversations.add(conversation, last, "user", f"turn {turn}").id
        said.append(last)
    assert [m.id for m in conversations.path(last)] == said


def test_a_tree_holds_every_message_in_the_order_it_was_said(store: FeedbackStore):
    talk, other = ask(store, "First.", "Second."), ask(store, "Elsewhere.")
    edited = store.conversations.add(talk.conversation, None, "user", "Why is the sea blue?")
    late = store.conversations.add(talk.conversation, talk.question, "assistant", "Third.", "model")
    tree = store.conversations.tree(talk.conversation)
    assert [m.id for m in tree] == [talk.question, *talk.answers, edited.id, late.id]
    assert [m.parent_id for m in tree] == [None, *[talk.question] * 2, None, talk.question]
    assert other.answers[0] not in {m.id for m in tree}


def test_a_message_comes_back_as_it_was_added(store: FeedbackStore):
    conversations = store.conversations
    talk = ask(store)
    generation = made(
        *("length",),
        system_prompt_hash="sha256:system",
        sampling={"temperature": 0.7, "stop": ["\n"], "seed": None},
        prompt_tokens=12,
        completion_tokens=34,
        first_token_ms=56,
        total_ms=789,
    )
    text = "  两个字 🎈\n\n\ttabbed, 'quoted' \"twice\"; DROP TABLE message; -- \u2028 end "
    added = conversations.add(
        talk.conversation, talk.question, "assistant", text, "model", generation
    )
    assert conversations.message(added.id, ANN) == added
    assert added.generation == generation
    assert conversations.message(talk.question, ANN).generation is None


def test_text_that_databases_cannot_hold_is_replaced_not_lost(store: FeedbackStore):
    talk = ask(store, "a\0b\ud800c", question="\0?")
    assert store.conversations.message(talk.answers[0], ANN).content == "a\ufffdb\ufffdc"
    assert store.conversations.get(talk.conversation, ANN).title == "\ufffd?"
    with pytest.raises(NotFound):
        store.conversations.get("conv_\0", ANN)
    with pytest.raises(NotFound):
        store.conversations.messages(["msg_\ud800"], ANN)


def test_messages_come_in_the_order_asked_for(store: FeedbackStore):
    talk = ask(store, "First.", "Second.")
    ids = [talk.answers[1], talk.question, talk.answers[0]]
    assert [m.id for m in store.conversations.messages(ids, ANN)] == ids


def test_the_first_question_is_the_title(store: FeedbackStore):
    conversations = store.conversations
    conversation = conversations.start(ANN, "chat").id
    system = conversations.add(conversation, None, "system", "Be kind.").id
    assert conversations.get(conversation, ANN).title is None
    asked = conversations.add(conversation, system, "user", " Why\n is  it " + "x" * 100).id
    conversations.add(conversation, asked, "user", "And then?")
    title = conversations.get(conversation, ANN).title
    assert title == ("Why is it " + "x" * 100)[:60]


def test_owners_see_their_own_conversations_the_latest_first(store: FeedbackStore):
    first, second = ask(store, "One."), ask(store, "Two.")
    ask(store, "Bob's.", owner=BOB)
    store.conversations.start(ANN, "chat")  # nothing was said in it
    assert [c.id for c in store.conversations.of(ANN, "chat")] == [
        *(second.conversation, first.conversation)
    ]
    assert [c.id for c in store.conversations.of(ANN, "chat", limit=1)] == [second.conversation]
    assert store.conversations.of(ANN, "compare") == []
    assert store.conversations.of("person:nobody", "chat") == []


def test_somebody_elses_looks_exactly_like_a_missing_one(store: FeedbackStore):
    conversations = store.conversations
    talk = ask(store, "One.", owner=BOB)
    for read in (
        lambda conversation, message: conversations.get(conversation, ANN),
        lambda conversation, message: conversations.message(message, ANN),
        lambda conversation, message: conversations.messages([message], ANN),
        lambda conversation, message: conversations.set_consent(ANN, conversation, True, NOTICE),
        lambda conversation, message: conversations.erase(conversation, ANN),
    ):
        assert _refusal(read, talk.conversation, talk.answers[0]) == _refusal(read, "gone", "gone")
    assert conversations.message(talk.answers[0], BOB).content == "One."
    assert conversations.consent(ANN, talk.conversation) is None
    assert conversations.consent(BOB, talk.conversation) is True


def _refusal(read, conversation: str, message: str) -> str:
    with pytest.raises(NotFound) as caught:
        read(conversation, message)
    return str(caught.value).replace(message, "ID").replace(conversation, "ID")


def test_one_message_of_somebody_else_spoils_the_whole_reading(store: FeedbackStore):
    mine, theirs = ask(store, "Mine."), ask(store, "Theirs.", owner=BOB)
    with pytest.raises(NotFound):
        store.conversations.messages([mine.question, theirs.question], ANN)


def test_a_message_cannot_follow_one_of_another_conversation(store: FeedbackStore):
    talk, other = ask(store, "One."), ask(store, "Two.", consent=None)
    before = raw(store)
    for parent in (other.answers[0], "msg_gone"):
        with pytest.raises(NotFound, match="no message"):
            store.conversations.add(talk.conversation, parent, "user", "And?")
    assert raw(store) == before


def test_nothing_is_added_to_a_conversation_that_is_not_there(store: FeedbackStore):
    with pytest.raises(NotFound):
        store.conversations.add("conv_gone", None, "user", "Hello?")


def test_consent_is_off_until_it_is_given(store: FeedbackStore):
    talk = ask(store, "One.", consent=None)
    assert store.conversations.consent(ANN, talk.conversation) is None
    assert store.conversations.consented() == frozenset()


def test_the_latest_answer_about_consent_counts(store: FeedbackStore):
    conversations = store.conversations
    talk = ask(store, "One.", consent=True)
    assert conversations.consented() == {talk.conversation}
    conversations.set_consent(ANN, talk.conversation, False, NOTICE)
    assert conversations.consent(ANN, talk.conversation) is False
    assert conversations.consented() == frozenset()
    conversations.set_consent(ANN, talk.conversation, True, "a newer notice")
    assert conversations.consented() == {talk.conversation}
    assert [row["notice"] for row in raw(store)["consent"]] == [NOTICE, NOTICE, "a newer notice"]


def test_consent_for_the_future_is_copied_to_new_conversations_only(store: FeedbackStore):
    conversations = store.conversations
    before = conversations.start(ANN, "chat").id
    conversations.set_consent(ANN, None, True, NOTICE)
    after, bobs = conversations.start(ANN, "chat").id, conversations.start(BOB, "chat").id
    assert conversations.consented() == {after}
    assert conversations.consent(ANN, before) is None
    assert conversations.consent(BOB, bobs) is None


def test_a_standing_refusal_is_copied_too_and_leaves_the_old_alone(store: FeedbackStore):
    conversations = store.conversations
    conversations.set_consent(ANN, None, True, NOTICE)
    old = conversations.start(ANN, "chat").id
    conversations.set_consent(ANN, None, False, "another notice")
    new = conversations.start(ANN, "chat").id
    assert conversations.consented() == {old}
    assert conversations.consent(ANN, new) is False
    assert raw(store)["consent"][-1]["notice"] == "another notice"


def test_standing_consent_can_be_changed_for_one_conversation(store: FeedbackStore):
    conversations = store.conversations
    conversations.set_consent(ANN, None, True, NOTICE)
    one, other = conversations.start(ANN, "chat").id, conversations.start(ANN, "chat").id
    conversations.set_consent(ANN, one, False, NOTICE)
    assert conversations.consented() == {other}


def test_consent_needs_a_conversation_that_exists(store: FeedbackStore):
    for missing in ("conv_gone", ""):
        with pytest.raises(NotFound):
            store.conversations.set_consent(ANN, missing, True, NOTICE)
