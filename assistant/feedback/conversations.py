"""Conversations as trees of messages, their consent, and their erasure."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from assistant.errors import NotFound
from assistant.feedback import schema
from assistant.feedback.erasure import erase_conversations
from assistant.feedback.records import Conversation, Generation, Message, new_id, now_ms

TITLE_LENGTH = 60
_GENERATION = [c for c in schema.generation.c if c.name != "message_id"]


class Conversations:
    """Reads and adds; the only thing it ever changes is to blank what someone wants erased."""

    def __init__(self, write: sa.Engine, read: sa.Engine) -> None:
        self._write = write
        self._read = read

    def start(self, owner: str, surface: str) -> Conversation:
        """Begin an empty conversation; the owner's standing consent is copied onto it."""
        with self._write.begin() as connection:
            row = insert_conversation(connection, owner, surface)
            standing = _latest_consent(connection, owner, None)
            if standing is not None:
                insert_consent(connection, owner, row.id, *standing)
        return row

    def get(self, conversation_id: str, owner: str) -> Conversation:
        """One conversation of this owner; NotFound for anyone else's and for erased ones."""
        with self._read.connect() as connection:
            return _conversation(connection, conversation_id, owner)

    def of(self, owner: str, *surfaces: str, limit: int = 100) -> list[Conversation]:
        """An owner's conversations that hold messages, the latest first."""
        table = schema.conversation
        spoken = sa.select(schema.message.c.conversation_id)
        query = (
            sa.select(table)
            .where(table.c.owner == owner, table.c.surface.in_(surfaces))
            .where(table.c.erased_at.is_(None), table.c.id.in_(spoken))
            .order_by(table.c.seq.desc())
            .limit(limit)
        )
        with self._read.connect() as connection:
            return [_to_conversation(row) for row in connection.execute(query)]

    def add(
        self,
        conversation_id: str,
        parent_id: str | None,
        role: str,
        content: str,
        author: str = "person",
        generation: Generation | None = None,
        **tools: Any,
    ) -> Message:
        """Add one message under `parent_id` (None: a new root); `tools` as in `Message`."""
        with self._write.begin() as connection:
            return insert_message(
                *(connection, conversation_id, parent_id, role, content, author, generation),
                **tools,
            )

    def message(self, message_id: str, owner: str) -> Message:
        """One message of this owner, erased or not; NotFound for anyone else's."""
        return self.messages([message_id], owner)[0]

    def messages(self, ids: Sequence[str], owner: str) -> list[Message]:
        """Several messages of this owner, in the order asked for."""
        conversation = schema.conversation
        query = _select_messages().where(schema.message.c.id.in_(ids))
        query = query.join(conversation, conversation.c.id == schema.message.c.conversation_id)
        query = query.where(conversation.c.owner == owner)
        with self._read.connect() as connection:
            found = {row.id: _to_message(row) for row in connection.execute(query)}
        for message_id in ids:
            if message_id not in found:
                raise NotFound(f"There is no message {message_id!r} of yours.")
        return [found[message_id] for message_id in ids]

    def path(self, message_id: str) -> list[Message]:
        """The messages from the root to this one."""
        table = schema.message
        step = sa.select(table.c.id, table.c.parent_id, sa.literal(0).label("depth"))
        ancestors = step.where(table.c.id == message_id).cte("ancestors", recursive=True)
        parent = sa.select(table.c.id, table.c.parent_id, ancestors.c.depth + 1)
        ancestors = ancestors.union_all(parent.join(ancestors, table.c.id == ancestors.c.parent_id))
        query = _select_messages().join(ancestors, ancestors.c.id == table.c.id)
        with self._read.connect() as connection:
            rows = connection.execute(query.order_by(ancestors.c.depth.desc()))
            return [_to_message(row) for row in rows]

    def tree(self, conversation_id: str) -> list[Message]:
        """Every message of a conversation in the order it was said."""
        query = _select_messages().where(schema.message.c.conversation_id == conversation_id)
        with self._read.connect() as connection:
            rows = connection.execute(query.order_by(schema.message.c.seq))
            return [_to_message(row) for row in rows]

    def set_consent(
        self, owner: str, conversation_id: str | None, given: bool, notice: str
    ) -> None:
        """Note an answer to the question of consent; without a conversation, for all new ones."""
        with self._write.begin() as connection:
            if conversation_id is not None:
                _conversation(connection, conversation_id, owner)
            insert_consent(connection, owner, conversation_id, given, notice)

    def consent(self, owner: str, conversation_id: str) -> bool | None:
        """The latest answer for this conversation; None while nobody has answered."""
        with self._read.connect() as connection:
            latest = _latest_consent(connection, owner, conversation_id)
        return latest[0] if latest else None

    def everything(self) -> dict[str, Message]:
        """Every message of every owner, by id."""
        with self._read.connect() as connection:
            rows = connection.execute(_select_messages().order_by(schema.message.c.seq))
            return {row.id: _to_message(row) for row in rows}

    def consented(self) -> frozenset[str]:
        """The conversations whose latest answer to the question of consent is yes."""
        table = schema.consent
        query = sa.select(table.c.conversation_id, table.c.given).order_by(table.c.seq)
        with self._read.connect() as connection:
            latest = {row.conversation_id: row.given for row in connection.execute(query)}
        return frozenset(i for i, given in latest.items() if given and i is not None)

    def erase(self, conversation_id: str, owner: str) -> None:
        """Remove what was said in a conversation; its events stay, empty."""
        with self._write.begin() as connection:
            _conversation(connection, conversation_id, owner)
            erase_conversations(connection, schema.conversation.c.id == conversation_id)

    def erase_owner(self, owner: str) -> int:
        """Remove everything an owner ever said; returns how many conversations that were."""
        with self._write.begin() as connection:
            return erase_conversations(connection, schema.conversation.c.owner == owner)


def insert_conversation(connection: sa.Connection, owner: str, surface: str) -> Conversation:
    """Begin a conversation within a transaction."""
    row = Conversation(new_id("conv"), owner, surface, None, now_ms())
    connection.execute(sa.insert(schema.conversation).values(asdict(row)))
    return row


def insert_message(
    connection: sa.Connection,
    conversation_id: str,
    parent_id: str | None,
    role: str,
    content: str,
    author: str,
    generation: Generation | None = None,
    tool_calls: list[dict[str, Any]] | None = None,
    tool_call_id: str | None = None,
) -> Message:
    """Add a message within a transaction; refuses to add to an erased conversation."""
    table = schema.conversation
    query = sa.select(table.c.title).where(
        table.c.id == conversation_id, table.c.erased_at.is_(None)
    )
    found = connection.execute(query.with_for_update(key_share=True)).one_or_none()
    if found is None:
        raise NotFound("That conversation was deleted.")
    _check_parent(connection, conversation_id, parent_id)
    message = Message(
        *(new_id("msg"), conversation_id, parent_id, role, author, content, now_ms()),
        *(generation, tool_calls, tool_call_id),
    )
    values = {k: v for k, v in asdict(message).items() if k != "generation"}
    connection.execute(sa.insert(schema.message).values(values))
    if generation:
        made = asdict(generation) | {"message_id": message.id}
        connection.execute(sa.insert(schema.generation).values(made))
    if found.title is None and role == "user":
        title = " ".join(content.split())[:TITLE_LENGTH]
        connection.execute(
            sa.update(table).where(table.c.id == conversation_id).values(title=title)
        )
    return message


def _check_parent(connection: sa.Connection, conversation_id: str, parent_id: str | None) -> None:
    table = schema.message
    query = sa.select(table.c.id).where(
        table.c.id == parent_id, table.c.conversation_id == conversation_id
    )
    if parent_id is not None and connection.execute(query).one_or_none() is None:
        raise NotFound(f"There is no message {parent_id!r} in that conversation.")


def _conversation(connection: sa.Connection, conversation_id: str, owner: str) -> Conversation:
    table = schema.conversation
    query = sa.select(table).where(
        table.c.id == conversation_id, table.c.owner == owner, table.c.erased_at.is_(None)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound("There is no such conversation of yours.")
    return _to_conversation(row)


def insert_consent(
    connection: sa.Connection, owner: str, conversation_id: str | None, given: bool, notice: str
) -> None:
    """Note an answer to the question of consent within a transaction."""
    values = {
        "id": new_id("cons"),
        "owner": owner,
        "conversation_id": conversation_id,
        "given": given,
        "notice": notice,
        "created_at": now_ms(),
    }
    connection.execute(sa.insert(schema.consent).values(values))


def _latest_consent(
    connection: sa.Connection, owner: str, conversation_id: str | None
) -> tuple[bool, str] | None:
    table = schema.consent
    query = sa.select(table.c.given, table.c.notice).where(table.c.owner == owner)
    query = query.where(table.c.conversation_id == conversation_id)
    row = connection.execute(query.order_by(table.c.seq.desc()).limit(1)).one_or_none()
    return (row.given, row.notice) if row else None


def _select_messages() -> sa.Select[Any]:
    made = schema.generation
    joined = schema.message.outerjoin(made, made.c.message_id == schema.message.c.id)
    return sa.select(schema.message, *_GENERATION).select_from(joined)


def _to_message(row: sa.Row[Any]) -> Message:
    fields = row._mapping
    made = {c.name: fields[c] for c in _GENERATION}
    return Message(
        *(row.id, row.conversation_id, row.parent_id, row.role, row.author, row.content),
        row.created_at,
        Generation(**made) if made["version"] is not None else None,
        *(row.tool_calls, row.tool_call_id),
    )


def _to_conversation(row: sa.Row[Any]) -> Conversation:
    return Conversation(row.id, row.owner, row.surface, row.title, row.created_at)
