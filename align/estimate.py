"""How much memory and disk a training takes, told before it starts.

Counted from the model's shape and the longest batch; `tests/bench/memory.py` compares it with what
was taken.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoConfig

from align.loading import computes_in_bf16, precision_of
from align.recipes import RLHF, Recipe
from assistant.errors import Shortage

GIB = 2**30
LIBRARIES = 1.0 * GIB  # what torch, transformers, TRL and PEFT take before there is a model
OF_HIDDEN, OF_INNER = 24, 8  # bytes kept for the way back, by token, layer and value of each kind
OF_LOGITS = 8  # by learnt token and word: in bf16, and float32 while they are summed up
ADAM = 12  # float32 gradient and two moments of each trained weight
SLACK = 1.25  # the allocator's, and what is not counted


@dataclass(frozen=True)
class Shape:
    """A model, as far as its size goes."""

    parameters: int
    adapted: int
    """Sum over the linear layers of inputs + outputs: LoRA's weights by rank."""
    hidden: int
    inner: int
    layers: int
    vocabulary: int
    bytes_a_weight: int

    @classmethod
    def of(cls, folder: Path) -> "Shape":
        """From the configuration of a folder of weights."""
        config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
        hidden, layers, vocabulary = (
            config.hidden_size,
            config.num_hidden_layers,
            config.vocab_size,
        )
        inner = getattr(config, "intermediate_size", None) or 4 * hidden  # as GPT-2's layers
        heads = config.num_attention_heads
        head = getattr(config, "head_dim", None) or hidden // heads
        query, key = heads * head, (getattr(config, "num_key_value_heads", None) or heads) * head
        linear = [(hidden, query), *[(hidden, key)] * 2, (query, hidden)]
        linear += [*[(hidden, inner)] * 2, (inner, hidden)]
        embeddings = hidden * vocabulary * (1 if config.tie_word_embeddings else 2)
        return cls(
            parameters=embeddings + layers * sum(a * b for a, b in linear),
            adapted=layers * sum(a + b for a, b in linear),
            hidden=hidden,
            inner=inner,
            layers=layers,
            vocabulary=vocabulary,
            bytes_a_weight=precision_of(folder).itemsize,
        )


@dataclass(frozen=True)
class Need:
    """Bytes that a training takes at most."""

    memory: int
    disk: int


def needed(shape: Shape, rows: Sequence[dict[str, Any]], recipe: Recipe) -> Need:
    """What training on token rows takes, at the batch that has the most tokens."""
    at_once = min(recipe.micro_batch, recipe.batch)
    sides = 2 if "rejected_ids" in rows[0] else 1
    longest = sorted((row["length"] for row in rows), reverse=True)[:at_once]
    tokens = sides * len(longest) * max(longest)
    trained = recipe.rank * shape.adapted if recipe.rank else shape.parameters
    as_saved = recipe.rank and computes_in_bf16()
    weights = shape.parameters * (shape.bytes_a_weight if as_saved else 4)
    kept = tokens * shape.layers * (OF_HIDDEN * shape.hidden + OF_INNER * shape.inner)
    logits = tokens * shape.vocabulary * OF_LOGITS
    steps = weights + trained * (ADAM + (4 if recipe.rank else 0)) + kept + logits
    merging = shape.parameters * (4 + 4 + shape.bytes_a_weight)  # both in float32, and one saved
    memory = LIBRARIES + SLACK * max(steps, merging)
    saved = shape.parameters * shape.bytes_a_weight
    copies = 4 if isinstance(recipe, RLHF) else 2  # the model and its copy; the engine's, and next
    disk = copies * saved + 2 * trained * ADAM  # and two checkpoints
    return Need(int(memory), int(disk))


def check(base: Path, rows: Sequence[dict[str, Any]], recipe: Recipe, out: Path) -> None:
    """Raise Shortage, with what to change, where the machine has not what a training takes."""
    shape = Shape.of(base)
    need = needed(shape, rows, recipe)
    free = shutil.disk_usage(out).free
    if need.disk > free:
        raise Shortage(
            f"Training writes about {_gib(need.disk)}; the disk of {out} has {_gib(free)} left: "
            "free some, or move ASSISTANT_HOME to a larger one."
        )
    available = available_memory()
    if torch.cuda.is_available() or need.memory <= available:
        return
    raise Shortage(
        f"Training takes about {_gib(need.memory)} of memory, and {_gib(available)} are free; "
        f"{_advice(shape, rows, recipe, available)}."
    )


def available_memory() -> float:
    """What is free, and what this process has taken already, in bytes."""
    return float(psutil.virtual_memory().available + psutil.Process().memory_info().rss)


def _advice(shape: Shape, rows: Sequence[dict[str, Any]], recipe: Recipe, available: float) -> str:
    """The first change of a recipe that makes it fit."""
    for size in (2, 1):
        smaller = replace(recipe, micro_batch=min(size, recipe.micro_batch))
        if needed(shape, rows, smaller).memory <= available:
            return f"--micro-batch {size} takes less"
    for longest in (512, 256, 128):
        short = [row for row in rows if row["length"] <= longest]
        smaller = replace(recipe, micro_batch=1)
        if short and needed(shape, short, smaller).memory <= available:
            return f"--micro-batch 1 --longest {longest} takes less, and leaves out longer rows"
    return "stop other programs, or train a smaller base"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
