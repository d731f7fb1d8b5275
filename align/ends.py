"""How readily answers end while a model trains: what tells of their length without drawing any.

After each token of an answer the model ends with some chance. Over the same answers, the sum of
these chances falls where it came to talk on, and rises where it came to stop. Of answers that the
base drew itself, the sum is one each on average, and half of it is about twice the length; what
others wrote is often shorter, and then it moves less than the length does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from align.loading import computes_in_bf16
from align.quick.head import IGNORED

ENDS = "ends_times"
EVERY = 10  # steps between two looks
PAIRS = 6  # both of whose answers are looked at
SIDES = ("chosen_ids", "rejected_ids")


@dataclass
class Ends:
    """A few pairs (prompt ids, both answers' ids), and the token after which there is no other."""

    pairs: Sequence[tuple[list[int], list[list[int]]]]
    end: int
    _before: float | None = None

    @classmethod
    def of(cls, pairs: Sequence[dict[str, Any]], end: int) -> "Ends | None":
        """From token rows (prompt_ids, chosen_ids, rejected_ids); None where no answer ends."""
        number = min(PAIRS, len(pairs))
        few = [pairs[place * len(pairs) // number] for place in range(number)]
        looked_at = [(pair["prompt_ids"], [pair[side] for side in SIDES]) for pair in few]
        ended = any(end in answer for _, answers in looked_at for answer in answers)
        return cls(looked_at, end) if ended else None

    def times(self, model: Any, bare: Any) -> float:
        """How many times as readily as those of the base, PEFT's `bare` model without its adapter.

        `model` is the same as it is called where several processes train it.
        """
        if self._before is None:
            with bare.disable_adapter():
                self._before = self._endings(model)
        return self._endings(model) / max(self._before, 1e-9)

    def _endings(self, model: Any) -> float:
        """How many ends are expected on the way through all answers."""
        training = model.training
        model.eval()
        try:
            device = next(model.parameters()).device
            narrow = torch.autocast(device.type, torch.bfloat16, computes_in_bf16())
            with torch.no_grad(), narrow:
                return sum(self._ends(model, device, *pair) for pair in self.pairs)
        finally:
            model.train(training)

    def _ends(
        self, model: Any, device: torch.device, prompt: list[int], answers: list[list[int]]
    ) -> float:
        """Both answers at once, so that their prompt can be read once."""
        texts = [prompt + self._until_end(answer) for answer in answers]
        ids = torch.full((len(texts), max(map(len, texts))), self.end)
        mask = torch.zeros_like(ids)
        for place, text in enumerate(texts):
            ids[place, : len(text)] = torch.tensor(text)
            mask[place, : len(text)] = 1
        labels = torch.where(mask == 1, self.end, IGNORED)  # the end's chance at every place
        labels[:, : len(prompt)] = IGNORED
        ids, mask, labels = (tensor.to(device) for tensor in (ids, mask, labels))
        out = model(
            input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, use_cache=False
        )
        return float(out.log_probs[labels[:, 1:] != IGNORED].exp().sum())

    def _until_end(self, answer: list[int]) -> list[int]:
        return answer[: answer.index(self.end) + 1] if self.end in answer else answer
