"""Which rows a stage learns from, and which are set aside to tell how good it became."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from align.data.agreement import agreed, raters_agree
from align.data.gathering import split
from align.data.mixture import balanced
from align.data.packing import cut_apart
from align.data.tokens import tokenized
from align.recipes import DPO, KTO, Pretrain, Recipe, Reward
from align.rendering import tokenizer_of
from assistant.feedback.rows import Row

MOST_ON_A_CPU = 300


def learnt_from(recipe: Recipe, rows: Sequence[Row], seed: int) -> Sequence[Row]:
    """The rows that a stage would see."""
    return set_aside(recipe, rows, seed)[0]


def set_aside(
    recipe: Recipe, rows: Sequence[Row], seed: int
) -> tuple[Sequence[Row], Sequence[Row], Counter[str]]:
    """The rows to learn from, those that tell how good it became, and what is left for later."""
    if isinstance(recipe, KTO):
        most = recipe.most or (len(rows) if torch.cuda.is_available() else MOST_ON_A_CPU)
        learn, surplus = balanced(rows, recipe.balance, most, seed)
        return learn, [], surplus
    if isinstance(recipe, DPO) and recipe.agree:
        made = agreed(rows)
        learn = [row for row in made if recipe.ties or not row.data.get("tie")]
        divided = len(made) - len(learn)
        return learn, [], Counter({"as many people said the other": divided} if divided else {})
    if isinstance(recipe, Reward):
        return *split(rows, recipe.held_out, seed), Counter()
    if isinstance(recipe, Pretrain):
        texts = [row.data["text"] for row in rows]
        parts = cut_apart(texts, recipe.held_out, seed)
        return _as_rows(parts[0]), _as_rows(parts[1]), Counter()
    return rows, [], Counter()


def _as_rows(texts: Sequence[str]) -> list[Row]:
    return [Row({"text": text}, "", ()) for text in texts]


def measured(recipe: Recipe, base: Path, model: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """What the held-out rows say of a new model."""
    if isinstance(recipe, Pretrain):
        from align.pretrain import bits_per_byte  # noqa: PLC0415 - only one stage needs it

        texts = [row.data["text"] for row in rows]
        before, after = (bits_per_byte(one, texts, recipe.longest) for one in (base, model))
        return {"documents_held_out": len(texts), "bits_before": before, "bits_after": after}
    from align.scoring import judged  # noqa: PLC0415 - only one stage needs it

    same, both = raters_agree(rows)
    agreement = {"raters_agree": same / both, "votes_compared": both} if both else {}
    return judged(model, tokenized(tokenizer_of(base), rows, recipe.longest)[0]) | agreement
