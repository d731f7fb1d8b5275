"""From a folder of weights to a model: one that speaks, or one that scores."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from align.rendering import tokenizer_of


@dataclass(frozen=True)
class Form:
    """What is made of a base: something that speaks, or something that scores."""

    load: Callable[..., Any]
    speaks: bool


def load(folder: Path, dtype: Any = "auto") -> Any:
    """A version's weights, never running code that came with them."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=False
    )


def load_scorer(folder: Path, dtype: Any = "auto") -> Any:
    """The same weights under a head that gives a text one score; the head may be new.

    The padding token is not the end token, since the score is read where the padding begins.
    """
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=dtype, num_labels=1, local_files_only=True, trust_remote_code=False
    )
    model.config.get_text_config().pad_token_id = padding(tokenizer_of(folder))
    return model


def padding(tokenizer: Any) -> int:
    """A token that no conversation holds."""
    free = (i for i in sorted(tokenizer.all_special_ids) if i != tokenizer.eos_token_id)
    return int(next(free, tokenizer.pad_token_id))


SPEAKER = Form(load, speaks=True)
SCORER = Form(load_scorer, speaks=False)
