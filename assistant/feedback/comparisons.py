"""Pairs of answers that the server drew and showed blind, and the votes they got."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from assistant.errors import NotFound
from assistant.feedback import schema
from assistant.feedback.judgements import comparison_of, in_effect, select_judgements
from assistant.feedback.records import new_id, now_ms

SCORES = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5), "both_bad": (0.5, 0.5)}


class Comparisons:
    """Notes how two answers are shown. Only pairs drawn here count in a trial."""

    def __init__(self, write: sa.Engine, read: sa.Engine) -> None:
        self._write = write
        self._read = read

    def draw(
        self,
        conversation_id: str,
        first_id: str,
        second_id: str,
        drawn: str,
        *,
        blind: bool,
        trial: str | None = None,
    ) -> str:
        """Note how two answers are shown, and return the comparison's id."""
        values = {
            "id": new_id("cmp"),
            "conversation_id": conversation_id,
            "first_id": first_id,
            "second_id": second_id,
            "drawn": drawn,
            "blind": blind,
            "trial": trial,
            "created_at": now_ms(),
        }
        with self._write.begin() as connection:
            connection.execute(sa.insert(schema.comparison).values(values))
        return str(values["id"])

    def answer(self, comparison_id: str, position: int, owner: str) -> str:
        """The message shown first (0) or second (1) in a comparison of this owner."""
        with self._read.connect() as connection:
            drawn = comparison_of(connection, comparison_id, owner)
        return str((drawn.first_id, drawn.second_id)[position])

    def answer_ids(self, message_ids: Sequence[str]) -> dict[str, str]:
        """The outside names of answers that were shown in a pair, by message id."""
        drawn = schema.comparison
        shown = drawn.c.first_id.in_(message_ids) | drawn.c.second_id.in_(message_ids)
        with self._read.connect() as connection:
            rows = connection.execute(sa.select(drawn).where(shown)).all()
        firsts = {row.first_id: f"{row.id}#0" for row in rows}
        return firsts | {row.second_id: f"{row.id}#1" for row in rows}

    def votes(self, trial: str, candidate: str) -> list[float]:
        """What the votes of a trial are worth to its candidate (0, 0.5 or 1), oldest first.

        Counted are the judgements in effect of pairs that the server drew, blind, for this trial;
        each pair once, however many changed their mind about it.
        """
        drawn, judgement = schema.comparison, schema.judgement
        inside = sa.select(drawn.c.id).where(drawn.c.trial == trial, drawn.c.blind)
        given = sa.select(judgement.c.id).where(judgement.c.comparison_id.in_(inside))
        about = judgement.c.comparison_id.in_(inside) | judgement.c.withdraws_id.in_(given)
        with self._read.connect() as connection:
            latest = {j.comparison_id: j for j in in_effect(select_judgements(connection, about))}
            makers = _makers(connection, inside)
        scores = []
        for comparison_id, vote in latest.items():
            assert vote.choice is not None
            versions = makers[str(comparison_id)]
            if candidate in versions:
                scores.append(SCORES[vote.choice][versions.index(candidate)])
        return scores

    def latest_judgement(self) -> int:
        """The number of the latest judgement: it grows whenever there is something to count."""
        with self._read.connect() as connection:
            return connection.scalar(sa.select(sa.func.max(schema.judgement.c.seq))) or 0


def split_answer_id(answer: str) -> tuple[str, int] | None:
    """The comparison and the position that `cmp_…#0` or `cmp_…#1` names; None for other ids."""
    comparison_id, mark, position = answer.partition("#")
    if not comparison_id.startswith("cmp_"):
        return None
    if not mark or position not in ("0", "1"):
        raise NotFound(f"There is no answer {answer!r} of yours: a pair has '#0' and '#1'.")
    return comparison_id, int(position)


def _makers(connection: sa.Connection, inside: sa.Select[Any]) -> dict[str, tuple[str, str]]:
    """The versions that made the two answers of each comparison, in the order shown."""
    drawn = schema.comparison
    first, second = schema.generation.alias(), schema.generation.alias()
    query = (
        sa.select(drawn.c.id, first.c.version, second.c.version)
        .join(first, first.c.message_id == drawn.c.first_id)
        .join(second, second.c.message_id == drawn.c.second_id)
        .where(drawn.c.id.in_(inside))
    )
    return {row[0]: (row[1], row[2]) for row in connection.execute(query)}
