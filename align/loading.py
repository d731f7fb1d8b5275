"""From a folder of weights to a model: one that speaks, or one that scores."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from align.rendering import tokenizer_of
from assistant.processor import multiplies_bf16


@dataclass(frozen=True)
class Form:
    """What is made of a base: something that speaks, or something that scores."""

    load: Callable[..., Any]
    speaks: bool


def computes_in_bf16() -> bool:
    """Whether this machine is quicker in 16 bits than in 32."""
    return torch.cuda.is_available() or multiplies_bf16()


def load(folder: Path, dtype: torch.dtype | None = None) -> Any:
    """A version's weights, never running code that came with them.

    Without a `dtype` they are as they were saved, or in float32 where 16 bits would be slow.
    """
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype or _usual(), local_files_only=True, trust_remote_code=False
    )


def load_scorer(folder: Path, dtype: torch.dtype | None = None) -> Any:
    """The same weights under a head that gives a text one score; the head may be new.

    The padding token is not the end token, since the score is read where the padding begins.
    """
    model = AutoModelForSequenceClassification.from_pretrained(
        folder,
        dtype=dtype or _usual(),
        num_labels=1,
        local_files_only=True,
        trust_remote_code=False,
    )
    model.config.get_text_config().pad_token_id = padding(tokenizer_of(folder))
    return model


def precision_of(folder: Path) -> torch.dtype:
    """What a version's weights are saved in."""
    said: torch.dtype | None = AutoConfig.from_pretrained(folder, local_files_only=True).dtype
    if said is not None:
        return said
    with safe_open(next(folder.glob("*.safetensors")), framework="pt") as weights:
        found: torch.dtype = weights.get_tensor(next(iter(weights.keys()))).dtype
    return found


def padding(tokenizer: Any) -> int:
    """A token that no conversation holds."""
    free = (i for i in sorted(tokenizer.all_special_ids) if i != tokenizer.eos_token_id)
    return int(next(free, tokenizer.pad_token_id))


def _usual() -> Any:
    return "auto" if computes_in_bf16() else torch.float32


SPEAKER = Form(load, speaks=True)
SCORER = Form(load_scorer, speaks=False)
