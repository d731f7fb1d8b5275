"""Completions that a program asked us to keep, so that it can judge them by id."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from assistant.errors import NotFound
from assistant.feedback import schema
from assistant.feedback.conversations import insert_message
from assistant.feedback.records import Generation, now_ms


@dataclass(frozen=True)
class Choice:
    """One answer of a completion."""

    content: str
    generation: Generation


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
        turns: Sequence[dict[str, str]],
        choices: Sequence[Choice],
        metadata: dict[str, str] | None = None,
        usage: dict[str, Any] | None = None,
    ) -> None:
        """Store a finished completion, all or nothing."""
        with self._write.begin() as connection:
            parent = None
            for turn in turns:
                author = "program" if turn["role"] == "assistant" else "person"
                parent = insert_message(
                    connection, conversation_id, parent, turn["role"], turn["content"], author
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
                )

    def get(self, completion_id: str, owner: str) -> Completion:
        """A kept completion of this owner; NotFound for anyone else's and for erased ones."""
        table, message, made = schema.completion, schema.message, schema.generation
        with self._read.connect() as connection:
            query = sa.select(table).where(table.c.id == completion_id, table.c.owner == owner)
            row = connection.execute(query).one_or_none()
            if row is None:
                raise _unknown(completion_id)
            answers = connection.execute(
                sa.select(message.c.id, message.c.content, *(c for c in made.c))
                .join(made, made.c.message_id == message.c.id)
                .where(made.c.completion_id == completion_id, message.c.content.is_not(None))
                .order_by(made.c.choice_index)
            ).all()
        if not answers:
            raise _unknown(completion_id)
        return Completion(
            *(row.id, row.conversation_id, row.prompt_id, row.model),
            *(row.metadata, row.usage, row.created_at),
            tuple((answer.id, _choice(answer)) for answer in answers),
        )

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


def _unknown(completion_id: str) -> NotFound:
    return NotFound(
        f'There is no stored completion {completion_id!r} of yours; ask with "store": true to '
        "keep one."
    )


def _choice(row: sa.Row[Any]) -> Choice:
    fields = row._mapping
    made = {c.name: fields[c] for c in schema.generation.c if c.name != "message_id"}
    return Choice(row.content, Generation(**made))
