"""Whether a model under training still prefers what people preferred."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from align.loading import computes_in_bf16
from align.quick.head import IGNORED


@dataclass
class People:
    """Pairs that people judged (token rows: prompt_ids, chosen_ids, rejected_ids)."""

    pairs: Sequence[dict[str, Any]]
    _before: list[float] = field(default_factory=list)

    def right(self, model: Any) -> float:
        """Share of pairs whose better answer gained more on the base than the worse one.

        `model` is PEFT's, whose base without its adapter is what it is compared with. Pairs that
        moved alike count half.
        """
        if not self._before:
            with model.disable_adapter():
                self._before = self._margins(model)
        gains = [now - then for now, then in zip(self._margins(model), self._before, strict=True)]
        return sum((gain > 0) + 0.5 * (gain == 0) for gain in gains) / len(gains)

    def _margins(self, model: Any) -> list[float]:
        """By how many nats the better answer of each pair is likelier."""
        training = model.training
        model.eval()
        try:
            narrow = torch.autocast(model.device.type, torch.bfloat16, computes_in_bf16())
            with torch.inference_mode(), narrow:
                return [
                    _logp(model, pair["prompt_ids"], pair["chosen_ids"])
                    - _logp(model, pair["prompt_ids"], pair["rejected_ids"])
                    for pair in self.pairs
                ]
        finally:
            model.train(training)


def _logp(model: Any, prompt: list[int], answer: list[int]) -> float:
    ids = torch.tensor([prompt + answer], device=model.device)
    labels = ids.clone()
    labels[:, : len(prompt)] = IGNORED
    out = model(
        input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, fused_lm_head=True,
        use_cache=False,
    )  # fmt: skip
    return float(out.log_probs.sum())
