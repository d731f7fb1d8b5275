"""Kept completions: a program's answers under the names it knows them by."""

import pytest

from assistant.errors import NotFound
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, BOB, keep


def test_a_completion_comes_back_as_it_was_kept(store: FeedbackStore):
    conversation = keep(
        *(store, "cmpl-1", "One.", "Other."), metadata={"job": "7"}, usage={"prompt_tokens": 3}
    )
    kept = store.completions.get("cmpl-1", ANN)
    assert (kept.conversation_id, kept.model) == (conversation, "assistant")
    assert (kept.metadata, kept.usage) == ({"job": "7"}, {"prompt_tokens": 3})
    assert [choice.content for _, choice in kept.choices] == ["One.", "Other."]
    made = kept.choices[1][1].generation
    assert (made.completion_id, made.choice_index) == ("cmpl-1", 1)
    assert made.sampling == {"temperature": 0.5}


def test_the_prompt_is_a_path_and_the_choices_are_siblings(store: FeedbackStore):
    turns = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]
    keep(store, "cmpl-1", "One.", "Other.", turns=turns)
    kept = store.completions.get("cmpl-1", ANN)
    for message_id, choice in kept.choices:
        path = store.conversations.path(message_id)
        assert [(m.role, m.content) for m in path] == [*turns, ("assistant", choice.content)]
    authors = [m.author for m in store.conversations.path(kept.prompt_id)]
    assert authors == ["person", "person", "program", "person"]  # what a client says models said


def test_answers_are_named_by_completion_and_index(store: FeedbackStore):
    keep(store, "cmpl-1", "Only.")
    keep(store, "cmpl-2", "One.", "Other.")
    name = store.completions.message_id
    assert name("cmpl-1", ANN) == name("cmpl-1#0", ANN)
    ids = [name(f"cmpl-2#{index}", ANN) for index in range(2)]
    assert store.completions.answer_ids(ids) == {ids[0]: "cmpl-2#0", ids[1]: "cmpl-2#1"}
    for wrong in ("cmpl-2", "cmpl-2#2", "cmpl-2#-1", "cmpl-2#x", "cmpl-2#00", "cmpl-2#²"):
        with pytest.raises(NotFound, match="has 2 answer"):
            name(wrong, ANN)


def test_somebody_elses_completion_is_like_a_missing_one(store: FeedbackStore):
    keep(store, "cmpl-1", "Bob's.", owner=BOB)
    messages = []
    for completion in ("cmpl-1", "cmpl-gone"):
        with pytest.raises(NotFound) as caught:
            store.completions.get(completion, ANN)
        messages.append(str(caught.value).replace(completion, "ID"))
    assert messages[0] == messages[1]
