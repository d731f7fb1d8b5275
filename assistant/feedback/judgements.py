"""Judgements: events that name messages. The latest one about the same thing is in effect."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from assistant.errors import Invalid, NotFound
from assistant.feedback import schema
from assistant.feedback.conversations import insert_message
from assistant.feedback.paging import beyond
from assistant.feedback.records import (
    PAIR_CHOICES,
    REASONS,
    Judgement,
    Target,
    new_id,
    now_ms,
)

COMMENT_LENGTH = 4000
CORRECTION_LENGTH = 100_000


class Judgements:
    """Adds judgements and reads them back. Who judges must own what is judged."""

    def __init__(self, write: sa.Engine, read: sa.Engine) -> None:
        self._write = write
        self._read = read

    def thumb(
        self,
        owner: str,
        surface: str,
        message_id: str,
        choice: str,
        reasons: Sequence[str] = (),
        comment: str | None = None,
    ) -> Judgement:
        """Up or down for one answer, with reasons that fit and a comment."""
        if choice not in REASONS:
            raise Invalid("A rating is 'up' or 'down'.", "rating")
        for reason in reasons:
            if reason not in REASONS[choice]:
                fitting = ", ".join(REASONS[choice])
                raise Invalid(f"{reason!r} is no reason for {choice!r}; use: {fitting}.", "reasons")
        with self._write.begin() as connection:
            _answers(connection, owner, [message_id])
            return insert_judgement(
                *(connection, owner, surface, "thumb", [Target(message_id, 0)]),
                choice=choice,
                reasons=list(dict.fromkeys(reasons)),
                comment=_comment(comment),
            )

    def pair(
        self, owner: str, surface: str, first_id: str, second_id: str, choice: str
    ) -> Judgement:
        """Which of two answers to one prompt is better; the caller chose the two."""
        _check_pair_choice(choice)
        targets = [Target(first_id, 0), Target(second_id, 1)]
        with self._write.begin() as connection:
            _answers(connection, owner, [first_id, second_id])
            return insert_judgement(connection, owner, surface, "pair", targets, choice=choice)

    def compared(self, owner: str, surface: str, comparison_id: str, choice: str) -> Judgement:
        """Which answer of a pair that the server drew is better."""
        _check_pair_choice(choice)
        with self._write.begin() as connection:
            drawn = comparison_of(connection, comparison_id, owner)
            targets = [Target(drawn.first_id, 0), Target(drawn.second_id, 1)]
            _answers(connection, owner, [t.message_id for t in targets])
            return insert_judgement(
                *(connection, owner, surface, "pair", targets),
                choice=choice,
                comparison_id=comparison_id,
            )

    def ranking(self, owner: str, surface: str, groups: Sequence[Sequence[str]]) -> Judgement:
        """Several answers to one prompt, best group first; ids of a group are tied."""
        ranked = [(i, rank) for rank, group in enumerate(groups) for i in group]
        if len(ranked) < 2 or not all(groups):
            raise Invalid("A ranking needs at least two answers and no empty group.", "ranking")
        targets = [Target(i, position, rank) for position, (i, rank) in enumerate(ranked)]
        with self._write.begin() as connection:
            _answers(connection, owner, [t.message_id for t in targets])
            return insert_judgement(connection, owner, surface, "ranking", targets)

    def correction(self, owner: str, surface: str, message_id: str, text: str) -> Judgement:
        """A better answer, written by a person; kept as a sibling of the one it corrects."""
        if not text.strip():
            raise Invalid("A correction must not be empty.", "correction")
        if len(text) > CORRECTION_LENGTH:
            raise Invalid(f"A correction may have {CORRECTION_LENGTH} characters.", "correction")
        with self._write.begin() as connection:
            (answer,) = _answers(connection, owner, [message_id])
            if answer.content == text:
                raise Invalid("The correction equals the answer; change something.", "correction")
            better = insert_message(
                *(connection, answer.conversation_id, answer.parent_id),
                *("assistant", text, "person"),
            )
            return insert_judgement(
                *(connection, owner, surface, "correction", [Target(message_id, 0)]),
                corrected_id=better.id,
            )

    def withdraw(self, owner: str, surface: str, judgement_id: str) -> Judgement:
        """Take one of one's own judgements back."""
        with self._write.begin() as connection:
            found = select_judgements(connection, schema.judgement.c.id == judgement_id)
            if not found or found[0].owner != owner:
                raise NotFound(f"There is no judgement {judgement_id!r} of yours.")
            if found[0].kind == "withdrawal":
                raise Invalid("A withdrawal cannot be withdrawn; judge again.", "withdraw")
            return insert_judgement(
                connection, owner, surface, "withdrawal", [], withdraws_id=judgement_id
            )

    def get(self, judgement_id: str, owner: str | None) -> Judgement:
        """One judgement of this owner; of anybody for None."""
        with self._read.connect() as connection:
            found = select_judgements(connection, schema.judgement.c.id == judgement_id)
        if not found or owner not in (None, found[0].owner):
            raise NotFound(f"There is no judgement {judgement_id!r} of yours.")
        return found[0]

    def page(
        self,
        owner: str | None,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = False,
    ) -> tuple[list[Judgement], bool]:
        """An owner's judgements (None: everybody's) after a known one; whether there are more."""
        table = schema.judgement
        query = sa.select(table.c.id)
        query = query if owner is None else query.where(table.c.owner == owner)
        known = self.get(after, owner).seq if after else None
        query = beyond(query, table.c.seq, known, limit, newest_first)
        with self._read.connect() as connection:
            ids = connection.execute(query).scalars().all()
            found = select_judgements(connection, table.c.id.in_(ids[:limit]))
        return (found[::-1] if newest_first else found), len(ids) > limit

    def all(self) -> list[Judgement]:
        """Every judgement ever given, in order."""
        with self._read.connect() as connection:
            return select_judgements(connection, sa.true())

    def about(self, message_ids: Sequence[str], owner: str) -> list[Judgement]:
        """An owner's judgements in effect that name any of these messages."""
        named = sa.select(schema.judged.c.judgement_id).where(
            schema.judged.c.message_id.in_(message_ids)
        )
        table = schema.judgement
        about = (table.c.owner == owner) & (table.c.id.in_(named) | table.c.withdraws_id.in_(named))
        with self._read.connect() as connection:
            return in_effect(select_judgements(connection, about))


def in_effect(judgements: Iterable[Judgement]) -> list[Judgement]:
    """What still counts: the latest per rater, kind and set of messages, unless withdrawn."""
    latest: dict[tuple[str, str, frozenset[str]], Judgement] = {}
    subject: dict[str, tuple[str, str, frozenset[str]]] = {}
    for judgement in judgements:
        if judgement.withdraws_id is not None:
            key = subject.get(judgement.withdraws_id)
            if key in latest and latest[key].id == judgement.withdraws_id:
                del latest[key]
            continue
        named = frozenset(t.message_id for t in judgement.targets)
        key = (judgement.owner, judgement.kind, named)
        subject[judgement.id] = key
        latest[key] = judgement
    return sorted(latest.values(), key=lambda j: j.seq)


def _check_pair_choice(choice: str) -> None:
    if choice not in PAIR_CHOICES:
        raise Invalid(f"A choice is one of: {', '.join(PAIR_CHOICES)}.", "choice")


def _comment(text: str | None) -> str | None:
    if text and len(text) > COMMENT_LENGTH:
        raise Invalid(f"A comment may have {COMMENT_LENGTH} characters.", "comment")
    return text.strip() or None if text else None


def _answers(connection: sa.Connection, owner: str, ids: Sequence[str]) -> list[sa.Row[Any]]:
    """The answers about to be judged: this owner's, whole, distinct, to one and the same prompt."""
    if len(set(ids)) != len(ids):
        raise Invalid("The same answer is named twice.")
    message, conversation = schema.message, schema.conversation
    query = (
        sa.select(message)
        .join(conversation, conversation.c.id == message.c.conversation_id)
        .where(message.c.id.in_(ids), conversation.c.owner == owner)
        .order_by(conversation.c.seq)
        .with_for_update(key_share=True, of=conversation)  # nobody erases them meanwhile
    )
    found = {row.id: row for row in connection.execute(query)}
    for message_id in ids:
        if message_id not in found:
            raise NotFound(f"There is no answer {message_id!r} of yours.")
        if found[message_id].role != "assistant":
            raise Invalid(f"{message_id!r} is not an answer; only answers are judged.")
        if found[message_id].content is None:
            raise Invalid(f"The answer {message_id!r} was deleted.")
    rows = [found[message_id] for message_id in ids]
    prompts = {row.parent_id: _prompt(connection, row.parent_id) for row in rows}
    if len(set(prompts.values())) > 1:
        raise Invalid("These answers are to different prompts, so they cannot be compared.")
    return rows


def _prompt(connection: sa.Connection, message_id: str | None) -> tuple[tuple[str, ...], ...]:
    turns = []
    table = schema.message
    while message_id is not None:
        query = sa.select(table).where(table.c.id == message_id)
        row = connection.execute(query).one()
        turns.append((row.role, row.content, str(row.tool_calls), str(row.tool_call_id)))
        message_id = row.parent_id
    return tuple(reversed(turns))


def comparison_of(connection: sa.Connection, comparison_id: str, owner: str) -> sa.Row[Any]:
    """A comparison of this owner within a transaction."""
    table, conversation = schema.comparison, schema.conversation
    query = (
        sa.select(table)
        .join(conversation, conversation.c.id == table.c.conversation_id)
        .where(table.c.id == comparison_id, conversation.c.owner == owner)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no comparison {comparison_id!r} of yours.")
    return row


def insert_judgement(
    connection: sa.Connection,
    owner: str,
    surface: str,
    kind: str,
    targets: Sequence[Target],
    **fields: Any,
) -> Judgement:
    """Add a checked judgement within a transaction."""
    judgement_id = new_id("jdg")
    values = {"id": judgement_id, "kind": kind, "owner": owner, "surface": surface, "reasons": []}
    values |= {"created_at": now_ms()} | fields
    connection.execute(sa.insert(schema.judgement).values(values))
    rows = [asdict(target) | {"judgement_id": judgement_id} for target in targets]
    if rows:
        connection.execute(sa.insert(schema.judged), rows)
    return select_judgements(connection, schema.judgement.c.id == judgement_id)[0]


def select_judgements(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Judgement]:
    """The judgements that `where` names, in order, within a transaction."""
    table, judged = schema.judgement, schema.judged
    fields = [c for c in table.c if c.name != "reasons"]
    rows = connection.execute(  # before their targets: a judgement that comes between has them all
        sa.select(*fields, table.c.reasons).where(where).order_by(table.c.seq)
    ).all()
    ids = sa.select(table.c.id).where(where)
    targets: dict[str, list[Target]] = {}
    named = sa.select(judged).where(judged.c.judgement_id.in_(ids)).order_by(judged.c.position)
    for row in connection.execute(named):
        target = Target(row.message_id, row.position, row.rank)
        targets.setdefault(row.judgement_id, []).append(target)
    return [
        Judgement(
            **{c.name: row._mapping[c] for c in fields},
            reasons=tuple(row.reasons),
            targets=tuple(targets.get(row.id, ())),
        )
        for row in rows
    ]
