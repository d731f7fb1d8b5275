"""Erasure: every text that was said in a conversation is blanked in place; its events stay."""

import sqlalchemy as sa

from assistant.feedback import schema
from assistant.feedback.records import now_ms


def erase_conversations(connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
    """Erase the conversations that `which` names; returns how many still held something."""
    table, message, generation = schema.conversation, schema.message, schema.generation
    judgement, completion, response = schema.judgement, schema.completion, schema.response
    ids = sa.select(table.c.id).where(which, table.c.erased_at.is_(None))
    # Locked first, so that whoever is adding to one of them is done, or will find it erased.
    found = len(connection.scalars(ids.with_for_update(key_share=True)).all())
    inside = sa.select(message.c.id).where(message.c.conversation_id.in_(ids))
    said = sa.select(schema.judged.c.judgement_id).where(schema.judged.c.message_id.in_(inside))
    gone = now_ms()
    for statement in (
        sa.update(judgement)
        .where(judgement.c.id.in_(said), judgement.c.erased_at.is_(None))
        .values(comment=None, erased_at=gone),
        sa.update(generation).where(generation.c.message_id.in_(inside)).values(sampling=None),
        sa.update(completion).where(completion.c.conversation_id.in_(ids)).values(metadata=None),
        sa.update(response).where(response.c.conversation_id.in_(ids)).values(body=None),
        sa.update(message)
        .where(message.c.conversation_id.in_(ids))
        .values(content=None, tool_calls=None, tool_call_id=None, erased_at=gone),
        sa.update(table)  # last: the others find their rows by what is not erased yet
        .where(which, table.c.erased_at.is_(None))
        .values(title=None, erased_at=gone),
    ):
        connection.execute(statement)
    return found
