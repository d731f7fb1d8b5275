"""Reading judgements that were given elsewhere: TRL's shapes as JSONL or Parquet."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from assistant.errors import Invalid
from assistant.feedback import schema
from assistant.feedback.conversations import insert_consent, insert_conversation, insert_message
from assistant.feedback.judgements import insert_judgement
from assistant.feedback.records import Target, now_ms
from assistant.prompts import text_hash

NOTICE = text_hash("Imported by the operator, who states the right to train on it.")
ROLES = ("system", "user", "assistant")
SHAPES = {  # the columns that tell a shape
    "preference": {"chosen", "rejected"},
    "unpaired": {"prompt", "completion", "label"},
    "messages": {"messages"},
}
KNOWN = {"prompt", "chosen", "rejected", "completion", "label", "messages"}
Turns = list[dict[str, str]]


@dataclass(frozen=True)
class Example:
    """One row understood: a prompt, one or two answers, and what is said of them."""

    prompt: Turns
    answers: tuple[str, ...]
    kind: str
    choice: str


@dataclass
class Report:
    """What an import found: `broken` maps a line number to what is wrong there."""

    read: int = 0
    imported: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)
    ignored_columns: set[str] = field(default_factory=set)


def load(database: sa.Engine, file: Path, *, skip_broken: bool) -> Report:
    """Import a file, all or nothing; broken rows stop it unless they are to be skipped."""
    digest = _digest(file)
    report, examples = Report(), []
    for line, row in _rows(file):
        report.read += 1
        try:
            shape, example = _understand(row)
        except Invalid as error:
            report.broken[line] = str(error)
            continue
        report.shapes[shape] += 1
        report.ignored_columns |= set(row) - KNOWN
        examples.append(example)
    if report.broken and not skip_broken:
        return report
    with database.begin() as connection:
        _note_file(connection, file, digest, len(examples))
        for example in examples:
            _store(connection, f"import_{digest[:24]}", example)
    report.imported = len(examples)
    return report


def read_examples(file: Path) -> Iterator[tuple[int, Example | Invalid]]:
    """What stands on each line of a file: an example, or what is wrong with it."""
    _digest(file)  # says so if it cannot be read
    for line, row in _rows(file):
        try:
            yield line, _understand(row)[1]
        except Invalid as error:
            yield line, error


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise Invalid(f"Cannot read {file} ({error.strerror}).") from error


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Line (or row) numbers from 1, and what stands there; undecodable lines come as None."""
    if file.suffix == ".parquet":
        try:
            yield from enumerate(pq.read_table(file).to_pylist(), start=1)
        except pa.ArrowException as error:
            raise Invalid(f"{file} is not a readable Parquet file: {error}.") from error
        return
    if file.suffix not in (".jsonl", ".json"):
        raise Invalid(f"{file.name} should end in .jsonl or .parquet, so that its format is known.")
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError:
                    yield number, None


def _understand(row: Any) -> tuple[str, Example]:
    if not isinstance(row, dict):
        raise Invalid("not a JSON object")
    given = {name: value for name, value in row.items() if value is not None}
    shape = next((s for s, columns in SHAPES.items() if columns <= set(given)), None)
    match shape:
        case "preference":
            return shape, _preference(given)
        case "unpaired":
            if not isinstance(given["label"], bool):
                raise Invalid("label is not true or false")
            verdict = "up" if given["label"] else "down"
            prompt = _turns(given["prompt"], "user")
            return shape, _example(prompt, [given["completion"]], "thumb", verdict)
        case "messages":
            turns = _turns(given["messages"], "user")
            return shape, _example(turns[:-1], [turns[-1:]], "thumb", "up")
    raise Invalid(
        "no known columns (messages; chosen and rejected; or prompt, completion and label)"
    )


def _preference(row: dict[str, Any]) -> Example:
    chosen, rejected = (_turns(row[side], "assistant") for side in ("chosen", "rejected"))
    prompt = _turns(row["prompt"], "user") if "prompt" in row else chosen[:-1]
    if "prompt" not in row:
        if rejected[:-1] != prompt:
            raise Invalid("chosen and rejected answer different prompts")
        chosen, rejected = chosen[-1:], rejected[-1:]
    example = _example(prompt, [chosen, rejected], "pair", "first")
    if example.answers[0] == example.answers[1]:
        raise Invalid("chosen and rejected are identical")
    return example


def _example(prompt: Turns, answers: list[Any], kind: str, choice: str) -> Example:
    if not prompt or prompt[-1]["role"] != "user":
        raise Invalid("the prompt does not end with a user's turn")
    texts = []
    for answer in answers:
        turns = _turns(answer, "assistant")
        if len(turns) != 1 or turns[0]["role"] != "assistant" or not turns[0]["content"].strip():
            raise Invalid("an answer must be one assistant turn with text")
        texts.append(turns[0]["content"])
    return Example(prompt, tuple(texts), kind, choice)


def _turns(value: Any, role: str) -> Turns:
    """Turns from TRL's conversational form, or from a plain text said by `role`."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise Invalid("a column holds neither text nor a list of turns")
    for turn in value:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise Invalid(f"a turn's role is not one of {', '.join(ROLES)}")
        if not isinstance(turn.get("content"), str):
            raise Invalid("a turn has no text")
    return [{"role": turn["role"], "content": turn["content"]} for turn in value]


def _note_file(connection: sa.Connection, file: Path, digest: str, rows: int) -> None:
    table = schema.imported
    earlier = connection.execute(sa.select(table).where(table.c.sha256 == digest)).one_or_none()
    if earlier:
        raise Invalid(f"{file} was imported before ({earlier.rows} rows); nothing was done.")
    values = {"sha256": digest, "name": file.name, "rows": rows, "created_at": now_ms()}
    connection.execute(sa.insert(table).values(values))


def _store(connection: sa.Connection, owner: str, example: Example) -> None:
    conversation = insert_conversation(connection, owner, "import")
    insert_consent(connection, owner, conversation.id, True, NOTICE)
    parent = None
    for turn in example.prompt:
        parent = insert_message(
            connection, conversation.id, parent, turn["role"], turn["content"], "import"
        ).id
    answers = [
        insert_message(connection, conversation.id, parent, "assistant", text, "import")
        for text in example.answers
    ]
    targets = [Target(answer.id, position) for position, answer in enumerate(answers)]
    insert_judgement(connection, owner, "import", example.kind, targets, choice=example.choice)
