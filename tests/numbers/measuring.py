"""What a version does, for the tables: answers by a rule, instructions, plain text, pairs."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from align.data.tokens import tokenized
from align.harm import wilson
from align.loading import load
from align.measure import answer_logps, loss, plain_paragraphs
from align.rendering import tokenizer_of
from align.sampling import Sampled, sample
from align.verifiers.instructions import loosely, strictly
from assistant.feedback.rows import Row
from assistant.version import Version
from tests.e2e.product import ROOT
from tests.loop.people import Person
from tests.loop.report import interval

IFEVAL = ROOT.parent / "shared/data/eval/ifeval.dev.jsonl"
GREEDY = {"max_tokens": 512, "temperature": 0.0}
WORTH = {"first": 1.0, "tie": 0.5, "both_bad": 0.5, "second": 0.0}


def against(before: Sequence[Sampled], after: Sequence[Sampled], judge: Person) -> dict[str, Any]:
    """Answers to the same questions, old and new: who wins (95 %), compliance, length, endings."""
    wins = [WORTH[judge.choice(new.text, old.text)] for old, new in zip(before, after, strict=True)]
    low, high = interval(wins)
    return {
        "win_rate": fmean(wins),
        "low": low,
        "high": high,
        "complies": fmean(judge.rule(answer.text) for answer in after),
        "tokens": fmean(answer.tokens for answer in after),
        "ends": fmean(answer.stopped for answer in after),
    }


def instructions(version: Version, home: Path, scratch: Path) -> dict[str, Any]:
    """The share of IFEval's prompts all of whose instructions are followed, with Wilson's 95 %."""
    rows = [json.loads(line) for line in IFEVAL.read_text(encoding="utf-8").splitlines()]
    answers = sample(version, [row["prompt"] for row in rows], GREEDY, home, scratch)
    found: dict[str, Any] = {"prompts": len(rows)}
    for name, follows in (("strict", strictly), ("loose", loosely)):
        right = sum(
            follows(row["instruction_id_list"], row["kwargs"], answer.text)
            for row, answer in zip(rows, answers, strict=True)
        )
        found[name] = [right / len(rows), *wilson(right, len(rows))]
    return found


def perplexity(folder: Path) -> float:
    """Of the harm check's plain text, every paragraph weighing the same."""
    model, tokenizer = load(folder).eval(), tokenizer_of(folder)
    with torch.inference_mode():
        losses = [loss(model, tokenizer, text) for text in plain_paragraphs()]
    return float(torch.tensor(losses).mean().exp())


def held_out(base: Path, folder: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """Pairs nobody learnt from: how often the better side gains more, and its gain in nats."""
    tokens, _ = tokenized(tokenizer_of(base), rows, 1024)
    before, after = answer_logps(base, tokens), answer_logps(folder, tokens)
    gains = [(a[0] - b[0], a[1] - b[1]) for b, a in zip(before, after, strict=True)]
    right = sum((better > worse) + 0.5 * (better == worse) for better, worse in gains)
    return {
        "pairs": len(tokens),
        "accuracy": [right / len(tokens), *wilson(right, len(tokens))],
        "chosen_nats": fmean(better for better, _ in gains),
    }
