"""All rows of one shape, from what people said here, from files, and from the hub."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from align.data.files import hashed, restored
from assistant.errors import Invalid
from assistant.feedback.formats import Example, understand
from assistant.feedback.importing import read_examples
from assistant.feedback.rows import NO_BETTER_SIDE, Row, Rows, Shape, Snapshot, build
from assistant.feedback.store import FeedbackStore

FEEDBACK = "feedback"
NEW, OLD = "new-feedback", "old-feedback"  # what the base has not learnt from yet, and what it has
STORED = (FEEDBACK, NEW, OLD)
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
ENOUGH_PEOPLE = 10  # groups of people who judged no conversation together
NAMED = 3  # broken rows that an error names
Wanted = Shape | Literal["text", "comparison", "prompt"]
"""`text` is plain; a `comparison` is a preference or a tie; a `prompt` waits for answers."""


@dataclass(frozen=True)
class Source:
    """Where rows come from, and its share of the mixture, if one was given."""

    name: str
    weight: float | None = None

    @classmethod
    def of(cls, said: str) -> "Source":
        """`NAME` or `NAME:WEIGHT`; a weight is a number over 0. Raises Invalid."""
        name, weight = named_weight(said)
        if weight is not None and not 0 < weight < float("inf"):
            raise Invalid(f"{said!r}: the weight of a source must be a number over 0.")
        return cls(name, weight)


def named_weight(said: str) -> tuple[str, float | None]:
    """`NAME` or `NAME:WEIGHT`."""
    name, _, tail = said.rpartition(":")
    try:
        return (name, float(tail)) if name else (said, None)
    except ValueError:
        return said, None


Placed = tuple[str, Example | Invalid]


def gather(
    shape: Wanted,
    source: str,
    database: str,
    learnt: frozenset[str] | None = None,
    examples: Iterable[Placed] | None = None,
) -> Rows:
    """The rows of one shape from the store at `database`, or from a file, folder or hub name.

    `learnt` are the judgements that the base has learnt from, by which `new-feedback` and
    `old-feedback` are told apart. `examples` are those of the source, where it was read before.
    Raises Invalid naming the first broken rows; nothing is trained on half a file.
    """
    if source not in STORED:
        return _from_examples(shape, source, examples_of(source) if examples is None else examples)
    if shape == "text":
        return Rows()
    if source != FEEDBACK and learnt is None:
        raise Invalid(f"{source} is told by what a base has learnt, and there is no base here.")
    with FeedbackStore(database) as store:
        found = _built(shape, store.snapshot())
    if source == FEEDBACK:
        return found
    return without(found, learnt or frozenset()) if source == NEW else only(found, learnt)


def _built(shape: Shape | Literal["comparison", "prompt"], snapshot: Snapshot) -> Rows:
    if shape == "prompt":
        return _asked(snapshot)
    if shape != "comparison":
        return build(shape, snapshot)
    decided, tied = build("preference", snapshot), build("tie", snapshot)
    left_out = decided.left_out - Counter({NO_BETTER_SIDE: decided.left_out[NO_BETTER_SIDE]})
    return Rows(decided.rows + tied.rows, left_out)


def _asked(snapshot: Snapshot) -> Rows:
    """Each prompt whose answers somebody judged, once."""
    judged = [build("preference", snapshot), build("unpaired", snapshot)]
    rows: dict[str, Row] = {}
    for row in (row for found in judged for row in found.rows):
        told = {name: row.data[name] for name in ("prompt", "tools") if name in row.data}
        rows.setdefault(hashed(told), replace(row, data=told | {"facts": {}}))
    return Rows(list(rows.values()), judged[1].left_out)


def without(rows: Rows, learnt: frozenset[str]) -> Rows:
    """The rows that hold something new."""
    new = [row for row in rows.rows if not set(row.judgement_ids) <= learnt]
    known = len(rows.rows) - len(new)
    return Rows(new, rows.left_out + Counter({"learnt before by the base": known} if known else {}))


def only(rows: Rows, learnt: frozenset[str] | None) -> Rows:
    """The rows that hold nothing new."""
    old = [row for row in rows.rows if set(row.judgement_ids) <= (learnt or frozenset())]
    new = len(rows.rows) - len(old)
    return Rows(old, rows.left_out + Counter({"not learnt before": new} if new else {}))


def _from_examples(shape: Wanted, source: str, examples: Iterable[Placed]) -> Rows:
    rows, broken = Rows(), []
    name = Path(source).name
    for place, example in examples:
        if isinstance(example, Invalid):
            broken.append(f"{place}: {example}")
            continue
        made = list(_shaped(shape, example))
        if not made:
            rows.left_out[f"{name}: {example.kind}, not of the shape {shape}"] += 1
        for data in made:
            row = Row(data, _opening(data), (), whole=example.kind == "chat", facts=example.facts)
            rows.rows.append(restored(row))
    if broken:
        more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        raise Invalid(
            f"{source} has broken rows ({'; '.join(broken[:NAMED])}{more}); mend or drop them."
        )
    return rows


def _opening(data: dict[str, Any]) -> str:
    """What a conversation is told by: its first turn, so that all its rows are on one side."""
    said = data.get("prompt") or data.get("messages") or data
    turns = said if isinstance(said, list) else []
    return hashed(next((turn["content"] for turn in turns if turn["role"] == "user"), said))


def examples_of(source: str) -> Iterator[Placed]:
    """Where each row of a file, folder or hub name stands, and what it is or lacks."""
    if Path(source).exists() or not HUB_NAME.fullmatch(source):
        yield from read_examples(Path(source))
        return
    for number, row in enumerate(_from_hub(source), start=1):
        try:
            yield f"row {number}", understand(row)
        except Invalid as error:
            yield f"row {number}", error


def _from_hub(name: str) -> Any:
    """The training split of a data set of the hub; its code, if it has any, is never run."""
    from datasets import load_dataset  # noqa: PLC0415 - slow, and rarely needed

    try:
        return load_dataset(name, split="train")
    except Exception as error:  # the hub's library raises whatever the network does
        raise Invalid(
            f"There is no file {name}, and the hub gave no data set of that name "
            f"({type(error).__name__}: {str(error)[:200]})."
        ) from error


def _shaped(shape: Wanted, example: Example) -> Iterator[dict[str, Any]]:
    tools = {"tools": list(example.tools)} if example.tools else {}
    match shape, example.kind:
        case (("preference" | "comparison"), "pair"):
            yield _sides(example, 0, 1) | tools | _apart_by(example.margin)
        case (("preference" | "comparison"), "ranking"):
            yield from (sides | tools for sides in _ranked(example, ties=shape == "comparison"))
        case "unpaired", "thumb":
            completion = [example.answers[0]]
            judged = {"completion": completion, "label": example.liked}
            yield {"prompt": example.prompt} | judged | tools
        case ("messages", "chat") | ("messages", "thumb") if example.liked:
            yield {"messages": [*example.prompt, example.answers[0]]} | tools
        case "prompt", "prompt":
            yield {"prompt": example.prompt, "facts": example.facts} | tools
        case "text", "text":
            yield {"text": example.text}


def _ranked(example: Example, *, ties: bool) -> Iterator[dict[str, Any]]:
    """Each two answers of a ranking, the better one first; the same rank is a tie."""
    for two in combinations(range(len(example.answers)), 2):
        better, worse = sorted(two, key=lambda i: example.ranks[i])
        if margin := example.ranks[worse] - example.ranks[better]:
            yield _sides(example, better, worse) | _apart_by(margin)
        elif ties:
            yield _sides(example, better, worse) | {"tie": True}


def _apart_by(margin: float) -> dict[str, float]:
    return {"margin": margin} if margin else {}


def _sides(example: Example, better: int, worse: int) -> dict[str, Any]:
    chosen, rejected = example.answers[better], example.answers[worse]
    return {"prompt": example.prompt, "chosen": [chosen], "rejected": [rejected]}


def split(rows: Sequence[Row], held_out: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn from and rows held out, so that no conversation is on both sides.

    Where enough people judged, nobody is on both sides either: what is held out then tells how
    strangers would judge.
    """
    groups = _apart(rows)
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)
    out = set(names[: round(len(names) * held_out)])
    return (
        [row for row, group in zip(rows, groups, strict=True) if group not in out],
        [row for row, group in zip(rows, groups, strict=True) if group in out],
    )


def _apart(rows: Sequence[Row]) -> list[str]:
    """To which group each row belongs: its conversation, or the people who share conversations."""
    conversations = [row.conversation_id for row in rows]
    leader: dict[str, str] = {}

    def first(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for row in rows:
        leader[first(f"person {row.person or row.conversation_id}")] = first(row.conversation_id)
    groups = [first(talk) for talk in conversations]
    known = all(row.person for row in rows)
    return groups if known and len(set(groups)) >= ENOUGH_PEOPLE else conversations
