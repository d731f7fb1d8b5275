"""Things said to a store: short ways for tests to fill one, and to look at its raw tables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from assistant.feedback import schema
from assistant.feedback.completions import Choice
from assistant.feedback.records import Generation
from assistant.feedback.rows import Rows, Shape, build
from assistant.feedback.store import FeedbackStore

ANN, BOB = "person:ann", "person:bob"
NOTICE = "hash of the notice"


@dataclass(frozen=True)
class Asked:
    """A question with answers to it, by message id."""

    conversation: str
    question: str
    answers: tuple[str, ...]


def made(finish: str = "stop", **fields: Any) -> Generation:
    """How an answer of the model came to be."""
    return Generation("tiny", "sha256:tiny", "sha256:template", finish_reason=finish, **fields)


def ask(
    store: FeedbackStore,
    *answers: str,
    owner: str = ANN,
    question: str = "Why is the sky blue?",
    consent: bool | None = True,
    finish: str = "stop",
) -> Asked:
    """A new conversation: one question and the model's answers to it."""
    conversations = store.conversations
    conversation = conversations.start(owner, "chat").id
    if consent is not None:
        conversations.set_consent(owner, conversation, consent, NOTICE)
    asked = conversations.add(conversation, None, "user", question).id
    told = [
        conversations.add(conversation, asked, "assistant", text, "model", made(finish)).id
        for text in answers
    ]
    return Asked(conversation, asked, tuple(told))


def keep(
    store: FeedbackStore,
    completion_id: str,
    *answers: str,
    owner: str = ANN,
    turns: Sequence[tuple[str, str]] = (("user", "Why?"),),
    **fields: Any,
) -> str:
    """A kept completion of a program; returns its conversation."""
    conversation = store.conversations.start(owner, "api").id
    asked = [{"role": role, "content": content} for role, content in turns]
    choices = [Choice(text, made(sampling={"temperature": 0.5})) for text in answers]
    store.completions.keep(
        *(completion_id, conversation, owner, "assistant", asked, choices), **fields
    )
    return conversation


def rows(store: FeedbackStore, shape: Shape) -> Rows:
    return build(shape, store.snapshot())


def data(store: FeedbackStore, shape: Shape) -> list[dict[str, Any]]:
    return [row.data for row in rows(store, shape).rows]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def raw(store: FeedbackStore) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, as the database has it."""
    with store.engine.connect() as connection:
        return {
            name: [
                dict(row)
                for row in connection.execute(
                    sa.text(f"SELECT * FROM {name} ORDER BY 1, 2")
                ).mappings()
            ]
            for name in schema.metadata.tables
        }


def tables_that_hold(store: FeedbackStore, text: str) -> set[str]:
    """The tables in which a text still stands anywhere."""
    return {name for name, found in raw(store).items() if any(text in str(row) for row in found)}


@contextmanager
def just_before(part: str, act: Callable[[], object]) -> Iterator[None]:
    """Let something else happen once, right before a statement with `part` in it is executed."""
    waiting = [act]

    def execute(*args: Any) -> None:
        if part in args[2] and waiting:
            waiting.pop()()

    sa.event.listen(sa.Engine, "before_cursor_execute", execute)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", execute)
    assert not waiting, f"no statement with {part!r} was executed"
