"""Plain text → a version that continues text as it was written (next-token prediction)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from align.data.packing import document_end, packed
from align.loading import load
from align.recipes import Pretrain
from align.rendering import tokenizer_of
from align.sft import likelier
from assistant.errors import Invalid

BITS = math.log(2)
SHORTEST = 8  # tokens of a block


def run(
    recipe: Pretrain, seed: int, base: Path, rows: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Train on token rows (input_ids), packed into blocks, and write the model to `out`.

    Raises Invalid for blocks in which there is next to nothing to guess.
    """
    if recipe.longest < SHORTEST:
        raise Invalid(f"--longest {recipe.longest}: give {SHORTEST} or more tokens.")
    blocks = packed(rows, recipe.longest, document_end(tokenizer_of(base)), seed)
    return likelier(recipe, seed, base, blocks, out, in_blocks=True)


def bits_per_byte(folder: Path, texts: Sequence[str], block: int) -> float:
    """How many bits the model needs for a byte of text; comparable between tokenizers.

    Every text is read from its beginning, in blocks that do not see the ones before.
    """
    model, tokenizer = load(folder, torch.float32).eval(), tokenizer_of(folder)
    bits, read = 0.0, 0
    with torch.inference_mode():
        for text in texts:
            ids = [document_end(tokenizer), *tokenizer(text).input_ids]
            for start in range(0, len(ids) - 1, block):
                piece = torch.tensor([ids[start : start + block + 1]])
                logits = model(piece).logits[0, :-1].float()
                loss = torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="sum")
                bits += float(loss) / BITS
            read += len(text.encode())
    return bits / read
