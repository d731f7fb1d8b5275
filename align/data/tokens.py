"""From rows to token ids under TRL's column names."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from align.quick.head import IGNORED
from align.rendering import Refused, Rendered, render, render_prompt
from assistant.feedback.rows import Row

ANSWERS = ("chosen_ids", "rejected_ids", "completion_ids", "input_ids")


def tokenized(
    tokenizer: Any, rows: Sequence[Row], longest: int
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Rows as token ids under TRL's column names; what is too long, empty or refused is counted.

    preference: prompt_ids, chosen_ids, rejected_ids, tie, weight, margin; unpaired: prompt_ids,
    completion_ids, label; messages: input_ids and labels (-100 where nothing is learnt: of what
    people judged all but the last answer, of conversations in files all but the answers). An answer
    carries its end token
    unless it was cut off (learning to end there would be learning to end anywhere), or is disliked
    on its own: that it ended is not what was wrong with it; unlearning that makes answers endless.
    """
    made, left_out = [], Counter[str]()
    for row in rows:
        try:
            ids_of = columns(tokenizer, row)
        except Refused as error:
            left_out[str(error)] += 1
            continue
        if not all(ids for name, ids in ids_of.items() if name.endswith("_ids")):
            left_out["an answer without text"] += 1
            continue
        if all(label == IGNORED for label in ids_of.get("labels", (0,))):
            left_out["every answer has the weight 0"] += 1
            continue
        size = _size(ids_of)
        if size > longest and "text" not in row.data:  # a text can be cut into pieces
            left_out[f"longer than {longest} tokens"] += 1
            continue
        made.append(ids_of | {"length": size, "temperature": row.temperature})
    return made, left_out


def fitting(
    tokenizer: Any, rows: Sequence[Row], longest: int | None
) -> tuple[list[Row], Counter[str]]:
    """The rows that `tokenized` would take, and what it would leave out; all without `longest`."""
    if longest is None:
        return list(rows), Counter()
    found, left_out = [], Counter[str]()
    for row in rows:
        taken, why = tokenized(tokenizer, [row], longest)
        found += [row] if taken else []
        left_out += why
    return found, left_out


def length(tokenizer: Any, row: Row) -> int:
    """Of the row with its longer side, in tokens, the prompt included."""
    return _size(columns(tokenizer, row))


def _size(ids_of: dict[str, Any]) -> int:
    answers = [len(ids_of[name]) for name in ANSWERS if name in ids_of]
    return len(ids_of.get("prompt_ids", [])) + max(answers, default=0)


def columns(tokenizer: Any, row: Row) -> dict[str, Any]:
    """The token ids of one row, whatever their number."""
    data, tools = row.data, row.data.get("tools")
    if "text" in data:
        ids = tokenizer(data["text"]).input_ids
        return {"input_ids": ids, "labels": ids}
    if "facts" in data:
        ids = render_prompt(tokenizer, data["prompt"], tools)
        return {"prompt_ids": ids, "prompt": data["prompt"], "facts": data["facts"]}
    if "messages" in data:
        rendered = render(tokenizer, data["messages"], tools)
        weights = [t.get("weight", 1) for t in data["messages"] if t["role"] == "assistant"]
        labels = _every_answer(rendered, weights) if row.whole else _last_answer(rendered)
        return {"input_ids": rendered.ids, "labels": labels}
    made: dict[str, Any] = {"label": data["label"]} if "label" in data else {}
    if "chosen" in data:
        extra = {"tie": data.get("tie", False), "margin": float(data.get("margin", 0))}
        made |= extra | {"weight": row.weight}
    for side in ("chosen", "rejected", "completion"):
        if side in data:
            prompt, answer = render(tokenizer, data["prompt"] + data[side], tools).split()
            endless = side in row.unfinished or data.get("label") is False
            answer = answer[:-1] if endless else answer
            made |= {"prompt_ids": prompt, f"{side}_ids": answer}
    return made


def _every_answer(rendered: Rendered, weights: Sequence[int]) -> list[int]:
    """All but those whose turn says `"weight": 0`, as OpenAI's files do.

    Raises Refused where such turns cannot be told apart from the others.
    """
    runs = [(trained, list(run)) for trained, run in groupby(rendered.trained)]
    if 0 in weights and sum(trained for trained, _ in runs) != len(weights):
        raise Refused("an answer with the weight 0, which the template does not keep apart")
    learnt = iter(weights)
    mask = [flag for trained, run in runs for flag in [trained and next(learnt, 1)] * len(run)]
    return [i if flag else IGNORED for i, flag in zip(rendered.ids, mask, strict=True)]


def _last_answer(rendered: Rendered) -> list[int]:
    """Nobody judged the earlier ones."""
    prompt, answer = rendered.split()
    tail = len(rendered.ids) - len(prompt) - len(answer)
    return [IGNORED] * len(prompt) + answer + [IGNORED] * tail
