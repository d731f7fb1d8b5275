"""Reading judgements that were given elsewhere."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from assistant.errors import Invalid
from assistant.feedback import schema
from assistant.feedback.conversations import insert_consent, insert_conversation, insert_message
from assistant.feedback.formats import Example, understand
from assistant.feedback.judgements import insert_judgement
from assistant.feedback.reading import digest, files_in, raw_rows
from assistant.feedback.records import Target, now_ms
from assistant.prompts import text_hash

NOTICE = text_hash("Imported by the operator, who states the right to train on it.")
VERDICTS = {"chat": ("thumb", "up"), "pair": ("pair", "first")}  # what such a row says


@dataclass
class Report:
    """What an import found: `broken` maps a line number to what is wrong there."""

    read: int = 0
    imported: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)
    ignored_columns: set[str] = field(default_factory=set)


def load(database: sa.Engine, file: Path, *, skip_broken: bool) -> Report:
    """Import a file, all or nothing; broken rows stop it unless they are to be skipped."""
    sha256 = digest(file)
    report, examples = Report(), []
    for line, row in raw_rows(file):
        report.read += 1
        try:
            example = _judged(understand(row))
        except Invalid as error:
            report.broken[line] = str(error)
            continue
        report.formats[example.format] += 1
        report.ignored_columns |= set(row) - example.columns
        examples.append(example)
    if report.broken and not skip_broken:
        return report
    with database.begin() as connection:
        _note_file(connection, file, sha256, len(examples))
        for example in examples:
            _store(connection, f"import_{sha256[:24]}", example)
    report.imported = len(examples)
    return report


def _judged(example: Example) -> Example:
    if example.kind == "text":
        raise Invalid("a plain text, which nobody judged")
    if not example.answers:
        raise Invalid("a question without an answer, which nobody could judge")
    if example.tools:
        raise Invalid("has tools, which an import does not keep")
    return example


def read_examples(place: Path) -> Iterator[tuple[str, Example | Invalid]]:
    """Where each row of a file, or of a folder's files, stands, and what it is or lacks."""
    for file in files_in(place):
        within = f"{file.relative_to(place)}, " if place.is_dir() else ""
        digest(file)  # says so if it cannot be read
        for line, row in raw_rows(file):
            try:
                yield f"{within}line {line}", understand(row)
            except Invalid as error:
                yield f"{within}line {line}", error


def _note_file(connection: sa.Connection, file: Path, sha256: str, rows: int) -> None:
    table = schema.imported
    earlier = connection.execute(sa.select(table).where(table.c.sha256 == sha256)).one_or_none()
    if earlier:
        raise Invalid(f"{file} was imported before ({earlier.rows} rows); nothing was done.")
    values = {"sha256": sha256, "name": file.name, "rows": rows, "created_at": now_ms()}
    connection.execute(sa.insert(table).values(values))


def _store(connection: sa.Connection, owner: str, example: Example) -> None:
    conversation = insert_conversation(connection, owner, "import").id
    insert_consent(connection, owner, conversation, True, NOTICE)
    parent = None
    for turn in example.prompt:
        parent = _add(connection, conversation, parent, turn)
    answers = [_add(connection, conversation, parent, answer) for answer in example.answers]
    kind, choice = VERDICTS.get(example.kind, (example.kind, None))
    if example.kind == "thumb":
        choice = "up" if example.liked else "down"
    places = {rank: place for place, rank in enumerate(sorted(set(example.ranks)))}
    ranks = [places[rank] for rank in example.ranks]
    ordered = sorted(zip(answers, ranks, strict=True), key=lambda one: one[1]) if ranks else []
    targets = [Target(answer, i, rank) for i, (answer, rank) in enumerate(ordered)] or [
        Target(answer, i) for i, answer in enumerate(answers)
    ]
    insert_judgement(connection, owner, "import", kind, targets, choice=choice)


def _add(
    connection: sa.Connection, conversation: str, parent: str | None, turn: dict[str, Any]
) -> str:
    """Keep one turn; its message's id."""
    said = turn["role"], turn["content"], "import", None
    calls = turn.get("tool_calls"), turn.get("tool_call_id")
    return insert_message(connection, conversation, parent, *said, *calls).id
