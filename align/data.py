"""From votes and files to the rows a stage learns from; what is left out is counted, with why."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from align.quality import without_loops
from align.rendering import Rendered, render
from assistant.errors import Invalid
from assistant.feedback.importing import Example, read_examples
from assistant.feedback.rows import Row, Rows, Shape, build
from assistant.feedback.store import FeedbackStore

FEEDBACK = "feedback"
ANSWERS = ("chosen_ids", "rejected_ids", "completion_ids", "input_ids")


def gather(
    shape: Shape, sources: Sequence[str], database: str, learnt: frozenset[str] = frozenset()
) -> Rows:
    """All rows of one shape from `feedback` (the store at `database`) and from files.

    Rows made only of judgements in `learnt` are left out: the base has learnt from them already.
    """
    gathered = Rows()
    for source in sources or (FEEDBACK,):
        if source == FEEDBACK:
            with FeedbackStore(database) as store:
                found = build(shape, store.snapshot())
            found = without(found, learnt)
        else:
            found = from_file(shape, Path(source))
        gathered.rows += found.rows
        gathered.left_out += found.left_out
    return without_loops(gathered)


def without(rows: Rows, learnt: frozenset[str]) -> Rows:
    """The rows that hold something new."""
    new = [row for row in rows.rows if not set(row.judgement_ids) <= learnt]
    known = len(rows.rows) - len(new)
    return Rows(new, rows.left_out + Counter({"learnt before by the base": known} if known else {}))


def from_file(shape: Shape, file: Path) -> Rows:
    """Rows of one shape from a JSONL or Parquet file in TRL's shapes.

    Raises Invalid naming the first broken lines; nothing is trained on half a file.
    """
    rows, broken = Rows(), []
    for line, example in read_examples(file):
        if isinstance(example, Invalid):
            broken.append(f"line {line}: {example}")
        elif (data := _shaped(shape, example)) is None:
            rows.left_out[f"{file.name}: {example.kind}, not of the shape {shape}"] += 1
        else:
            rows.rows.append(Row(data, f"{file.name}:{_hash(data.get('prompt', data))}", ()))
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise Invalid(f"{file} has broken rows ({'; '.join(broken[:3])}{more}); mend or drop them.")
    return rows


def _shaped(shape: Shape, example: Example) -> dict[str, Any] | None:
    answers = [[{"role": "assistant", "content": text}] for text in example.answers]
    if shape == "preference" and example.kind == "pair":
        return {"prompt": example.prompt, "chosen": answers[0], "rejected": answers[1]}
    if shape == "unpaired" and example.kind == "thumb":
        label = example.choice == "up"
        return {"prompt": example.prompt, "completion": answers[0], "label": label}
    if shape == "messages" and example.kind == "thumb" and example.choice == "up":
        return {"messages": [*example.prompt, *answers[0]]}
    return None


def split(rows: Sequence[Row], held_out: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn from and rows held out, so that no conversation is on both sides."""
    conversations = sorted({row.conversation_id for row in rows})
    random.Random(seed).shuffle(conversations)
    out = set(conversations[: round(len(conversations) * held_out)])
    return (
        [row for row in rows if row.conversation_id not in out],
        [row for row in rows if row.conversation_id in out],
    )


def balanced(rows: Sequence[Row], most: int, seed: int) -> tuple[Sequence[Row], Counter[str]]:
    """Rows with a label, at most `most` of one verdict for each of the other, drawn by the seed.

    A model that is told nearly always what not to say, and next to nothing to say instead, ends up
    saying nothing sensible. Raises Invalid where all verdicts are the same.
    """
    kinds = [[row for row in rows if row.data["label"] is label] for label in (True, False)]
    fewest = min(map(len, kinds))
    if rows and not fewest:
        verdict = "good" if kinds[0] else "bad"
        raise Invalid(f"All {len(rows)} answers are called {verdict}; KTO compares good and bad.")
    kept = {
        id(row)
        for kind in kinds
        for row in random.Random(seed).sample(kind, min(len(kind), most * fewest))
    }
    surplus = len(rows) - len(kept)
    why = f"more than {most} of one verdict for each of the other"
    return [row for row in rows if id(row) in kept], Counter({why: surplus} if surplus else {})


def save(rows: Iterable[Row], file: Path) -> str:
    """Write rows as JSONL and return the file's SHA-256."""
    body = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows).encode()
    file.write_bytes(body)
    return hashlib.sha256(body).hexdigest()


def load(file: Path) -> list[Row]:
    """Rows that `save` wrote."""
    with file.open(encoding="utf-8") as lines:
        return [_row(json.loads(line)) for line in lines]


def _row(fields: dict[str, Any]) -> Row:
    for name in ("judgement_ids", "unfinished"):
        fields[name] = tuple(fields[name])
    return Row(**fields)


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 of what rows hold, whatever file they came from."""
    return _hash([row.data for row in rows])


def tokenized(
    tokenizer: Any, rows: Sequence[Row], longest: int
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Rows as token ids under TRL's column names; too long and empty ones are left out and counted.

    preference: prompt_ids, chosen_ids, rejected_ids; unpaired: prompt_ids, completion_ids, label;
    messages: input_ids and labels (-100 where nothing is learnt). An answer carries its end token
    unless it was cut off (learning to end there would be learning to end anywhere), or is disliked
    on its own: that it ended is not what was wrong with it; unlearning that makes answers endless.
    """
    made, left_out = [], Counter[str]()
    for row in rows:
        columns = _ids(tokenizer, row)
        if not all(ids for name, ids in columns.items() if name.endswith("_ids")):
            left_out["an answer without text"] += 1
            continue
        answers = [len(columns[name]) for name in ANSWERS if name in columns]
        length = len(columns.get("prompt_ids", [])) + max(answers)
        if length > longest:
            left_out[f"longer than {longest} tokens"] += 1
            continue
        made.append(columns | {"length": length, "temperature": row.temperature})
    return made, left_out


def _ids(tokenizer: Any, row: Row) -> dict[str, Any]:
    data = row.data
    if "messages" in data:
        rendered = render(tokenizer, data["messages"])
        return {"input_ids": rendered.ids, "labels": _labels(rendered)}
    columns: dict[str, Any] = {"label": data["label"]} if "label" in data else {}
    for side in ("chosen", "rejected", "completion"):
        if side in data:
            prompt, answer = render(tokenizer, data["prompt"] + data[side]).split()
            endless = side in row.unfinished or data.get("label") is False
            answer = answer[:-1] if endless else answer
            columns |= {"prompt_ids": prompt, f"{side}_ids": answer}
    return columns


def _labels(rendered: Rendered) -> list[int]:
    """Only the last answer is learnt: nobody judged the earlier ones."""
    prompt, answer = rendered.split()
    tail = len(rendered.ids) - len(prompt) - len(answer)
    return [-100] * len(prompt) + answer + [-100] * tail


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
