"""Responses that are kept: as programs got them, and how far those in the background are."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from assistant.errors import Invalid, NotFound
from assistant.feedback.records import now_ms
from assistant.feedback.schema import conversation
from assistant.feedback.schema import response as table

LOST_AFTER = 15 * 60_000  # ms; no answer takes as long
LOST = "The server was stopped while it made this response; please ask again."
UNFINISHED = ("queued", "in_progress")


@dataclass(frozen=True)
class Response:
    """A kept response; `body` is what the program gets."""

    id: str
    conversation_id: str
    body: dict[str, Any]

    @property
    def status(self) -> str:
        """queued, in_progress, completed, incomplete, failed or cancelled."""
        return str(self.body["status"])


class Responses:
    """Keeps responses beside the conversation they are part of, and forgets them with it."""

    def __init__(self, write: sa.Engine, read: sa.Engine) -> None:
        self._write = write
        self._read = read

    def keep(self, owner: str, conversation_id: str, body: dict[str, Any]) -> None:
        """Store a response, finished or not."""
        with self._write.begin() as connection:
            self.added(connection, owner, conversation_id, body)

    def change(self, body: dict[str, Any]) -> bool:
        """Store how far an unfinished response is; False where it was cancelled or deleted."""
        with self._write.begin() as connection:
            return self.changed(connection, body)

    @staticmethod
    def added(
        connection: sa.Connection, owner: str, conversation_id: str, body: dict[str, Any]
    ) -> bool:
        """`keep`, as part of a transaction."""
        values = {
            "id": body["id"],
            "owner": owner,
            "conversation_id": conversation_id,
            "status": body["status"],
            "body": body,
            "created_at": now_ms(),
        }
        connection.execute(sa.insert(table).values(values))
        return True

    @staticmethod
    def changed(connection: sa.Connection, body: dict[str, Any]) -> bool:
        """`change`, as part of a transaction."""
        changed = connection.execute(
            sa.update(table)
            .where(
                table.c.id == body["id"],
                table.c.status.in_(UNFINISHED),
                table.c.body.is_not(None),
            )
            .values(status=body["status"], body=body)
        )
        return changed.rowcount > 0

    def get(self, response_id: str, owner: str) -> Response:
        """A kept response of this owner; NotFound for anyone else's and for deleted ones.

        One in the background whose program died is told to have failed.
        """
        with self._read.connect() as connection:
            row = _row(connection, response_id, owner)
        body = row.body
        if row.status in UNFINISHED and row.created_at < now_ms() - LOST_AFTER:
            body |= {"status": "failed", "error": {"code": "server_error", "message": LOST}}
        return Response(row.id, row.conversation_id, body)

    def cancel(self, response_id: str, owner: str) -> Response:
        """Stop a response that is made in the background; a finished one stays as it is."""
        with self._write.begin() as connection:
            row = _row(connection, response_id, owner)
            if not row.body["background"]:
                raise Invalid("Only a response that is made in the background can be cancelled.")
            if row.status in UNFINISHED:
                body = row.body | {"status": "cancelled"}
                connection.execute(
                    sa.update(table)
                    .where(table.c.id == response_id, table.c.status.in_(UNFINISHED))
                    .values(status="cancelled", body=body)
                )
            row = _row(connection, response_id, owner)
        return Response(row.id, row.conversation_id, row.body)

    def unfinished(self, response_id: str) -> bool:
        """Whether a response is still wanted."""
        wanted = (table.c.id == response_id) & table.c.body.is_not(None)
        with self._read.connect() as connection:
            return connection.scalar(sa.select(table.c.status).where(wanted)) in UNFINISHED


def _row(connection: sa.Connection, response_id: str, owner: str) -> sa.Row[Any]:
    query = (
        sa.select(table)
        .join(conversation, conversation.c.id == table.c.conversation_id)
        .where(table.c.id == response_id, table.c.owner == owner)
        .where(conversation.c.erased_at.is_(None))
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no stored response {response_id!r} of yours.")
    return row
