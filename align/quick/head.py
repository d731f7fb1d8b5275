"""A head that scores only what is learnt.

Measured by `make bench-train`; what it brought is in docs/training.md.
"""

import types
from typing import Any

import torch
from trl.trainer.utils import FusedCausalLMOutput

ROWS = 128  # positions scored at once: their float32 logits stay within a processor's cache
IGNORED = -100
# What models may do to their logits, or to the loss, that is not done here.
UNUSUAL = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
    "output_router_logits",
)


def compact_lm_head(model: Any) -> None:
    """Give a model the head that TRL's trainers call with `fused_lm_head=True`, fast on a CPU.

    TRL 1.16's own scores every prompt and padding position on a CPU (to keep shapes fixed for
    compilers we do not use), recomputes the logits, multiplies in float32, and adds up entropies
    and means that are only logged. Here only learnt positions are scored, in the weights' precision
    with float32 sums, and the logged extras are left at zero. Log-probabilities and gradients are
    the same, which `tests/align/quick/test_head.py` checks; it also says when TRL no longer needs
    this. A model that scales or caps its logits, or has a bias there, keeps TRL's head, and so does
    one on a GPU.
    """
    if model.device.type != "cpu":
        return
    config = model.config.get_text_config()
    if any(getattr(config, name, None) for name in UNUSUAL):
        return
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        return
    original = model.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return original(*args, **kwargs)
        labels = kwargs.pop("labels")[:, 1:]
        total = kwargs.pop("num_items_in_batch", None)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        mask = labels != IGNORED
        head = self.get_output_embeddings().weight
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else head.dtype
        picked = _LogProbs.apply(hidden[mask].to(kind), head.to(kind), labels[mask])
        logps = torch.zeros(mask.shape, dtype=torch.float32).masked_scatter(mask, picked)
        zeros = torch.zeros(mask.shape)
        return FusedCausalLMOutput(
            loss=-logps.sum() / (mask.sum().clamp(min=1) if total is None else total),
            log_probs=logps,
            entropy=zeros,
            log_sum_sq_probs=zeros,
            mean_logits=zeros,
            is_top1=zeros.bool(),
            label_mask=mask,
        )

    model.forward = types.MethodType(forward, model)


class _LogProbs(torch.autograd.Function):  # type: ignore[misc]
    """log softmax(hidden · headᵀ)[label] of each position."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        logits = hidden @ head.T  # (positions, vocabulary)
        norms = torch.cat([part.float().logsumexp(-1) for part in logits.split(ROWS)])
        ctx.save_for_backward(logits, norms, hidden, head, labels)
        return logits.gather(1, labels[:, None])[:, 0].float() - norms

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        logits, norms, hidden, head, labels = ctx.saved_tensors
        made = [head.new_zeros(0, head.shape[1])]
        of_head = torch.zeros_like(head, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(logits), ROWS):
            part = slice(start, start + ROWS)
            pull = (logits[part].float() - norms[part, None]).exp_().mul_(-grad[part, None])
            pull[torch.arange(len(pull)), labels[part]] += grad[part]
            pull = pull.to(head.dtype)
            made.append(pull @ head)
            if of_head is not None:
                of_head += pull.T @ hidden[part]
        return torch.cat(made), None if of_head is None else of_head.to(head.dtype), None
