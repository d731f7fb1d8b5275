"""Completions that a program asked us to keep, so that it can judge them by id."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from assistant.errors import NotFound
from assistant.feedback import schema
from assistant.feedback.conversations import insert_message
from assistant.feedback.paging import beyond
from assistant.feedback.records import Generation, now_ms

OF_CHAT = "chatcmpl-"  # how the ids of chat completions begin; those of responses do not
BY_PEOPLE = ("system", "developer", "user")  # roles; the others' words are programs'


@dataclass(frozen=True)
class Choice:
    """One answer of a completion."""

    content: str
    generation: Generation
    tool_calls: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Completion:
    """A kept completion: its choices in order, each with the message it is stored as."""

    id: str
    conversation_id: str
    prompt_id: str
    model: str
    metadata: dict[str, str] | None
    usage: dict[str, Any] | None
    created_at: int
    choices: tuple[tuple[str, Choice], ...]


@dataclass(frozen=True)
class Wanted:
    """Which kept completions are listed, and how many."""

    model: str | None = None
    """As the client named it when it asked."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    after: str | None = None
    """The id of the last one that is known already."""
    limit: int = 20
    newest_first: bool = False


class Completions:
    """Keeps completions as conversations of their own: the prompt a path, the choices siblings."""

    def __init__(self, write: sa.Engine, read: sa.Engine) -> None:
        self._write = write
        self._read = read

    def keep(
        self,
        completion_id: str,
        conversation_id: str,
        owner: str,
        model: str,
        turns: Sequence[dict[str, Any]],
        choices: Sequence[Choice],
        metadata: dict[str, str] | None = None,
        usage: dict[str, Any] | None = None,
        after: Callable[[sa.Connection], bool] | None = None,
    ) -> None:
        """Store a finished completion, all or nothing, in one transaction with what it comes after.

        Where that returns False, nothing of the completion is stored.
        """
        with self._write.begin() as connection:
            if after and not after(connection):
                return
            parent = None
            for turn in turns:
                author = "person" if turn["role"] in BY_PEOPLE else "program"
                parent = insert_message(
                    *(connection, conversation_id, parent, turn["role"], turn["content"], author),
                    tool_calls=turn.get("tool_calls"),
                    tool_call_id=turn.get("tool_call_id"),
                ).id
            values = {
                "id": completion_id,
                "owner": owner,
                "conversation_id": conversation_id,
                "prompt_id": parent,
                "model": model,
                "metadata": metadata,
                "usage": usage,
                "created_at": now_ms(),
            }
            connection.execute(sa.insert(schema.completion).values(values))
            for index, choice in enumerate(choices):
                made = replace(choice.generation, completion_id=completion_id, choice_index=index)
                insert_message(
                    *(connection, conversation_id, parent, "assistant", choice.content, "model"),
                    made,
                    tool_calls=choice.tool_calls,
                )

    def get(self, completion_id: str, owner: str) -> Completion:
        """A kept completion of this owner; NotFound for anyone else's and for erased ones."""
        with self._read.connect() as connection:
            return _one(connection, completion_id, owner)

    def page(self, owner: str, wanted: Wanted) -> tuple[list[Completion], bool]:
        """Kept completions of this owner, and whether there are more after them."""
        table, conversation = schema.completion, schema.conversation
        query = sa.select(table).join(conversation, conversation.c.id == table.c.conversation_id)
        query = query.where(table.c.owner == owner, conversation.c.erased_at.is_(None))
        query = query.where(table.c.id.startswith(OF_CHAT))
        if wanted.model is not None:
            query = query.where(table.c.model == wanted.model)
        for key, value in wanted.metadata.items():
            query = query.where(table.c.metadata[key].as_string() == value)
        with self._read.connect() as connection:
            known = _row(connection, wanted.after, owner).seq if wanted.after else None
            query = beyond(query, table.c.seq, known, wanted.limit, wanted.newest_first)
            rows = connection.execute(query).all()
            answers = _answers(connection, [row.id for row in rows])
        found = [_completion(row, answers[row.id]) for row in rows[: wanted.limit]]
        return found, len(rows) > wanted.limit

    def label(self, completion_id: str, owner: str, metadata: dict[str, str] | None) -> Completion:
        """Give a kept completion other metadata."""
        with self._write.begin() as connection:
            _one(connection, completion_id, owner)
            connection.execute(
                sa.update(schema.completion)
                .where(schema.completion.c.id == completion_id)
                .values(metadata=metadata)
            )
            return _one(connection, completion_id, owner)

    def message_id(self, answer: str, owner: str) -> str:
        """The message behind `<completion id>` or `<completion id>#<index>`."""
        completion_id, _, index = answer.partition("#")
        choices = self.get(completion_id, owner).choices
        if not index and len(choices) == 1:
            return choices[0][0]
        for number, (message_id, _) in enumerate(choices):
            if index == str(number):
                return message_id
        raise NotFound(
            f"The completion {completion_id!r} has {len(choices)} answer(s); name one as "
            f"'{completion_id}#0' to '{completion_id}#{len(choices) - 1}'."
        )

    def answer_ids(self, message_ids: Sequence[str]) -> dict[str, str]:
        """The outside names of stored answers, by message id."""
        made = schema.generation
        query = sa.select(made.c.message_id, made.c.completion_id, made.c.choice_index)
        query = query.where(made.c.message_id.in_(message_ids), made.c.completion_id.is_not(None))
        with self._read.connect() as connection:
            rows = connection.execute(query).all()
        return {row.message_id: f"{row.completion_id}#{row.choice_index}" for row in rows}


def _one(connection: sa.Connection, completion_id: str, owner: str) -> Completion:
    row = _row(connection, completion_id, owner)
    answers = _answers(connection, [row.id])[row.id]
    if not answers:
        raise _unknown(completion_id)
    return _completion(row, answers)


def _row(connection: sa.Connection, completion_id: str, owner: str) -> sa.Row[Any]:
    table = schema.completion
    query = sa.select(table).where(table.c.id == completion_id, table.c.owner == owner)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise _unknown(completion_id)
    return row


def _answers(
    connection: sa.Connection, completion_ids: Sequence[str]
) -> dict[str, tuple[tuple[str, Choice], ...]]:
    """The choices of completions that still have a text, in order, by completion."""
    message, made = schema.message, schema.generation
    rows = connection.execute(
        sa.select(message.c.id, message.c.content, message.c.tool_calls, *(c for c in made.c))
        .join(made, made.c.message_id == message.c.id)
        .where(made.c.completion_id.in_(completion_ids), message.c.content.is_not(None))
        .order_by(made.c.choice_index)
    ).all()
    found: dict[str, tuple[tuple[str, Choice], ...]] = dict.fromkeys(completion_ids, ())
    for row in rows:
        found[row.completion_id] += ((row.id, _choice(row)),)
    return found


def _completion(row: sa.Row[Any], answers: tuple[tuple[str, Choice], ...]) -> Completion:
    return Completion(
        *(row.id, row.conversation_id, row.prompt_id, row.model),
        *(row.metadata, row.usage, row.created_at, answers),
    )


def _unknown(completion_id: str) -> NotFound:
    return NotFound(
        f'There is no stored completion {completion_id!r} of yours; ask with "store": true to '
        "keep one."
    )


def _choice(row: sa.Row[Any]) -> Choice:
    fields = row._mapping
    made = {c.name: fields[c] for c in schema.generation.c if c.name != "message_id"}
    return Choice(row.content, Generation(**made), row.tool_calls)
