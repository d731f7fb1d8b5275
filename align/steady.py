"""How far a version may move in one stage: what it learnt is scaled down until plain text fits.

Learning from few judgements makes a model surer of everything, and at some point plain text becomes
less likely to it. Between the weights before and after, quality changes smoothly (Wortsman et al.
2022, arXiv 2109.01903), so the largest share of the change is kept that the allowance permits. The
text is not that of the harm check.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from align.rendering import tokenizer_of
from assistant import prompts

MOVED = "moved"  # the divergence's name among what is logged
HALVINGS = 5  # the share is found to 1/32
MATRICES = "adapter_model.safetensors"


class Anchored:
    """Makes a TRL trainer add `anchor` × KL(base ‖ model), by token of plain text, to its loss.

    Every step reads one paragraph of prompts/anchor.txt; without an anchor none is read.
    """

    anchor = 0.0

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, and the pull back to the base."""
        trainer: Any = self
        found = super().compute_loss(  # type: ignore[misc]
            model, inputs, return_outputs, num_items_in_batch
        )
        if not (self.anchor and model.training):
            return found
        moved = self._moved(model, trainer.state.global_step)
        trainer._metrics["train"][MOVED].append(moved.item())
        pull = self.anchor * moved
        scaled = trainer.loss_is_scaled_for_ga
        if scaled is None:
            scaled = num_items_in_batch is not None and trainer.model_accepts_loss_kwargs
        if scaled:
            pull = pull / trainer.current_gradient_accumulation_steps  # else that is done later
        return (found[0] + pull, found[1]) if return_outputs else found + pull

    def _moved(self, model: Any, step: int) -> torch.Tensor:
        """Mean KL(base ‖ model) of the next token, in nats, on the paragraph of a step."""
        trainer: Any = self
        paragraphs = prompts.load("anchor.txt").split("\n\n")
        text = paragraphs[step % len(paragraphs)]
        ids = trainer.processing_class(text, return_tensors="pt").input_ids.to(model.device)
        with torch.no_grad(), trainer.accelerator.unwrap_model(model).disable_adapter():
            before = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        now = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        return divergence(before, now)


def divergence(expected: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL(expected ‖ found) by token, in nats, of log-probabilities (length, vocabulary)."""
    each = torch.nn.functional.kl_div(found, expected, reduction="none", log_target=True)
    return each.sum(-1).mean()


def steadied(model: Any, base: Path, adapter: Path, allowance: float) -> float:
    """Scale a saved adapter so that plain text loses at most `allowance` of perplexity.

    `model` is the base. Returns the share of what was learnt that is kept: 1 where the adapter
    moves little enough, and never nothing.
    """
    tuned = PeftModel.from_pretrained(model, adapter).eval()
    texts = _texts(tokenizer_of(base))
    limit = _loss(tuned, texts, 0.0) + math.log1p(allowance)
    if _loss(tuned, texts, 1.0) <= limit:
        share = 1.0
    else:
        share, step = 0.0, 0.5
        for _ in range(HALVINGS):
            share += step if _loss(tuned, texts, share + step) <= limit else 0.0
            step /= 2
        share = max(share, step * 2)
        _scale(adapter / MATRICES, share)
    tuned.unload()
    return share


def _texts(tokenizer: AutoTokenizer) -> list[torch.Tensor]:
    paragraphs = prompts.load("steady.txt").split("\n\n")
    return [tokenizer(text, return_tensors="pt").input_ids for text in paragraphs]


def _loss(tuned: Any, texts: list[torch.Tensor], share: float) -> float:
    """Mean negative log-likelihood per token, in nats, every paragraph weighing the same."""
    with _shared(tuned, share), torch.inference_mode():
        losses = [
            float(torch.nn.functional.cross_entropy(tuned(ids).logits[0, :-1].float(), ids[0, 1:]))
            for ids in texts
        ]
    return sum(losses) / len(losses)


@contextmanager
def _shared(tuned: Any, share: float) -> Iterator[None]:
    """Inside the block only a share of what was learnt is added."""
    layers = [module for module in tuned.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.scale_layer(share)
    try:
        yield
    finally:
        for layer in layers:
            layer.unscale_layer()


def _scale(file: Path, share: float) -> None:
    matrices = load_file(file)
    scaled = {n: m * share if "lora_B" in n else m for n, m in matrices.items()}
    save_file(scaled, file, metadata={"format": "pt"})
