"""From an adapter to whole weights, checked."""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file

from align.loading import SPEAKER, Form, precision_of
from align.rendering import tokenizer_of
from assistant.errors import AssistantError

PROBE = "The quick brown fox jumps over the lazy dog. 你好, world: 1 + 1 = 2."
LOGIT_TOLERANCE = 1e-3
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


class TrainingFailed(AssistantError):
    """Training produced nothing that could be served; the sentence says why."""


def merge(base: Path, adapter: Path, out: Path, form: Form = SPEAKER) -> None:
    """Add an adapter to its base in float32 and save the sum beside the base's other files."""
    check_adapter(adapter)
    tuned = PeftModel.from_pretrained(form.load(base, torch.float32), adapter).eval()
    probe = tokenizer_of(base)(PROBE, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = tuned(probe).logits
        merged = _merged(tuned, adapter)
        difference = (merged(probe).logits - expected).abs().max().item()
    if not difference < LOGIT_TOLERANCE:
        raise TrainingFailed(
            f"The merged weights answer otherwise than the adapter (logits differ by "
            f"{difference:.2g}); nothing was registered."
        )
    merged.to(precision_of(base)).save_pretrained(out, safe_serialization=True)
    _copy_the_rest(base, out)


def keep_whole(model: Any, base: Path, out: Path) -> None:
    """Save a model all of whose weights were trained, in its base's precision."""
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise TrainingFailed(
            "Training left weights that are not numbers; train again with a smaller "
            "--learning-rate."
        )
    model.to(precision_of(base)).save_pretrained(out, safe_serialization=True)
    _copy_the_rest(base, out)


def _copy_the_rest(base: Path, out: Path) -> None:
    """The tokenizer and whatever else lies beside the weights of a base."""
    weights = {file for pattern in WEIGHTS for file in base.glob(pattern)}
    for file in base.iterdir():
        if file.is_file() and file not in weights and file.name != "card.json":
            shutil.copyfile(file, out / file.name)


def _merged(tuned: Any, adapter: Path) -> Any:
    try:
        return tuned.merge_and_unload(safe_merge=True)
    except ValueError as error:  # the sum overflows
        raise TrainingFailed(
            f"The adapter {adapter} is too large to be added to its base; train again with a "
            "smaller --learning-rate."
        ) from error


def check_adapter(adapter: Path) -> None:
    """Refuse an adapter that is missing, broken, or has learnt nothing."""
    file = adapter / "adapter_model.safetensors"
    try:
        matrices = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingFailed(f"The adapter {file} cannot be read ({error}).") from error
    if not all(bool(torch.isfinite(matrix).all()) for matrix in matrices.values()):
        raise TrainingFailed(
            f"The adapter {file} holds values that are not numbers; train again with a smaller "
            "--learning-rate."
        )
    if not any(bool(m.any()) for name, m in matrices.items() if "lora_B" in name):
        raise TrainingFailed(
            f"The adapter {file} has learnt nothing: its matrices are zero. Give it more rows, or "
            "more --epochs."
        )
