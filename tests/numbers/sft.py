"""What imitation brings on conversations nobody learnt from, of the same kind and of another."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from align.data.gathering import gather
from align.data.tokens import tokenized
from align.loading import load
from align.recipes import SFT
from align.rendering import tokenizer_of
from align.stages import drop_weights, train
from assistant.feedback.rows import Row
from assistant.version import Version
from tests.e2e.product import ROOT
from tests.loop.report import interval
from tests.numbers.kept import Kept

DATA = ROOT.parent / "shared/data/sft"
LEARNT = {"gsm8k.train.jsonl.gz": 400, "gpteacher_roleplay.train.jsonl": 400}
UNSEEN = {  # rows from the end of the shuffled file, where learnt ones come from its beginning
    "gsm8k.dev.jsonl": 200,
    "gpteacher_roleplay.train.jsonl": 200,
    "self_instruct_seeds.train.jsonl": 175,
}
LONGEST = 768
SEEDS = (0, 1, 2)


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._steps = version, steps

    def run(self) -> dict[str, Any]:
        """Losses before and after, for some seeds."""
        before = self._steps.do("before", lambda _: self._losses(self._version.path))
        found: dict[str, Any] = {"learnt": LEARNT, "sets": []}
        for seed in SEEDS:
            after = self._steps.do(f"seed-{seed}", lambda scratch, s=seed: self._after(s, scratch))
            for name, losses in after.items():
                found["sets"].append({"set": name, "seed": seed} | compared(before[name], losses))
        return found

    def _after(self, seed: int, scratch: Path) -> dict[str, Any]:
        rows = [row for name, number in LEARNT.items() for row in _rows(name)[:number]]
        train("sft", SFT(longest=LONGEST), seed, self._version.path, rows, scratch)
        losses = self._losses(scratch / "model")
        drop_weights(scratch / "model")
        return losses

    def _losses(self, folder: Path) -> dict[str, Any]:
        """By set and row: the answer's surprise in nats, its tokens and its bytes."""
        model, tokenizer = load(folder).eval(), tokenizer_of(folder)
        found = {}
        for name, number in UNSEEN.items():
            rows = _rows(name)[-number:]
            tokens = [tokenized(tokenizer, [row], LONGEST)[0] for row in rows]
            found[name] = [
                [_surprise(model, one[0]), _learnt(one[0]), _bytes(row)]
                for row, one in zip(rows, tokens, strict=True)
                if one
            ]
        return found


def _rows(name: str) -> list[Row]:
    rows = gather("messages", str(DATA / name), "").rows
    return random.Random(0).sample(rows, len(rows))


def _surprise(model: Any, row: dict[str, Any]) -> float:
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
    with torch.inference_mode():
        logits = model(ids).logits[0, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum"))


def _learnt(row: dict[str, Any]) -> int:
    return sum(label != -100 for label in row["labels"][1:])


def _bytes(row: Row) -> int:
    said = [m["content"] or "" for m in row.data["messages"] if m["role"] == "assistant"]
    return sum(len(text.encode()) for text in said)


def compared(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Nats a token and bits a byte of all answers; the change by row has a 95 % interval."""
    tokens, size = (sum(row[place] for row in before) for place in (1, 2))
    nats = [sum(row[0] for row in rows) for rows in (before, after)]
    changes = [(new[0] - old[0]) / old[1] for old, new in zip(before, after, strict=True)]
    low, high = interval(changes)
    return {
        "rows": len(before),
        "nats_a_token": [total / tokens for total in nats],
        "bits_a_byte": [total / math.log(2) / size for total in nats],
        "change_by_row": [fmean(changes), low, high],
    }


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        "| set | seed | rows | nats a token | bits a byte | change by row, nats a token (95 %) |",
        "|---|---|---|---|---|---|",
    ]
    for one in found["sets"]:
        change, low, high = one["change_by_row"]
        lines.append(
            f"| {one['set']} | {one['seed']} | {one['rows']} "
            f"| {one['nats_a_token'][0]:.3f} → {one['nats_a_token'][1]:.3f} "
            f"| {one['bits_a_byte'][0]:.3f} → {one['bits_a_byte'][1]:.3f} "
            f"| {change:+.3f} ({low:+.3f} to {high:+.3f}) |"
        )
    return "\n".join(lines)
