"""A head that scores only what is learnt.

Measured by `make bench-train`; what it brought is in docs/training.md.
"""

import types
from typing import Any

import torch
from trl.trainer.utils import FusedCausalLMOutput

from align.quick.loading import OURS, load
from align.quick.products import Matrix, fits, product, tiled

PART = 1536  # logits whose gradients are multiplied at once; caches hold rows of this length
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


# What TRL logs of outputs that are left at zero here.
NOT_COMPUTED = ("entropy", "mean_token_accuracy", "logits/chosen", "logits/rejected")


def compact_lm_head(model: Any) -> bool:
    """Give a model the head that TRL's trainers call with `fused_lm_head=True`, fast on a CPU.

    TRL 1.16's own scores every prompt and padding position on a CPU (to keep shapes fixed for
    compilers we do not use), recomputes the logits, multiplies in float32, and adds up entropies
    and means that are only logged. Here only learnt positions are scored, in the weights' precision
    with float32 sums, and the logged extras are left at zero (`log_what_is_computed`).
    Log-probabilities and gradients are the same, which `tests/align/quick/test_head.py` checks; it
    also says when TRL no longer needs this. A model that scales or caps its logits, or has a bias
    there, keeps TRL's head, and so does one on a GPU. Returns whether it got ours.
    """
    if model.device.type != "cpu":
        return False
    config = model.config.get_text_config()
    if any(getattr(config, name, None) for name in UNUSUAL):
        return False
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        return False
    original, packed = model.forward, Head(model.get_output_embeddings().weight)

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return original(*args, **kwargs)
        labels = kwargs.pop("labels")[:, 1:]
        total = kwargs.pop("num_items_in_batch", None)
        kwargs["use_cache"] = False
        hidden = self.base_model(*args, **kwargs).last_hidden_state[:, :-1]
        mask = labels != IGNORED
        head = packed.weights
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else head.dtype
        picked = _LogProbs.apply(hidden[mask].to(kind), head.to(kind), labels[mask], packed)
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
    return True


def log_what_is_computed(trainer: Any) -> None:
    """Let a trainer whose model has our head log no zeros for what nobody computed."""
    log = trainer.log

    def without(*args: Any, **kwargs: Any) -> None:
        for metrics in trainer._metrics.values():
            for name in NOT_COMPUTED:
                metrics.pop(name, None)
        log(*args, **kwargs)

    trainer.log = without


class Head:
    """The matrix (vocabulary, width) that logits are products with.

    Where it is fixed and ours to multiply with, it is kept packed, also in columns of `PART` tokens
    for the way back: a gradient of so many logits stays in a cache.
    """

    def __init__(self, weights: torch.Tensor) -> None:
        self.weights, self.whole = weights, None
        self.parts: list[tuple[int, Matrix]] = []
        if weights.requires_grad or len(weights) % PART or not fits(weights) or not tiled():
            return
        self.whole = Matrix(weights.detach())
        for start in range(0, len(weights), PART):
            self.parts.append((start, Matrix(weights.detach()[start : start + PART].T)))


class _LogProbs(torch.autograd.Function):  # type: ignore[misc]
    """log softmax(hidden · headᵀ)[label] of each position."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weights: torch.Tensor, labels: torch.Tensor, head: Head
    ) -> torch.Tensor:
        ours = None if ctx.needs_input_grad[1] or hidden.dtype != weights.dtype else head.whole
        logits = product(hidden.contiguous(), ours) if ours else hidden @ weights.T
        picked, norms = torch.empty(2, len(labels))
        if load():
            OURS.log_probs(logits, labels, picked, norms)
        else:
            norms = torch.cat([part.float().logsumexp(-1) for part in logits.split(ROWS)])
            picked = logits.gather(1, labels[:, None])[:, 0].float() - norms
        ctx.save_for_backward(logits, norms, hidden, weights, labels)
        ctx.parts = head.parts if ours else []
        return picked

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        logits, norms, hidden, weights, labels = ctx.saved_tensors
        grad = grad.contiguous()
        if ctx.parts:
            sums, pull = torch.zeros(hidden.shape), logits.new_empty(len(logits), PART)
            for start, part in ctx.parts:
                OURS.log_probs_back(logits, labels, norms, grad, start, pull)
                OURS.product_into(pull, part.packed, sums)
            return sums.to(hidden.dtype), None, None, None
        made = torch.empty_like(hidden)
        learns = ctx.needs_input_grad[1]
        of_head = torch.zeros_like(weights, dtype=torch.float32) if learns else None
        for start in range(0, len(logits), ROWS):
            part = slice(start, start + ROWS)
            pull = of_logits(logits[part], labels[part], norms[part], grad[part])
            made[part] = pull @ weights
            if of_head is not None:
                of_head += pull.T @ hidden[part]
        return made, None if of_head is None else of_head.to(weights.dtype), None, None


def of_logits(
    logits: torch.Tensor, labels: torch.Tensor, norms: torch.Tensor, grad: torch.Tensor
) -> torch.Tensor:
    """The gradient of logits (positions, vocabulary), given that of the labels' log-probability."""
    if load():
        pull = torch.empty_like(logits)
        OURS.log_probs_back(logits, labels, norms, grad, 0, pull)
        return pull
    pull = (logits.float() - norms[:, None]).exp_().mul_(-grad[:, None])
    pull[torch.arange(len(pull)), labels] += grad
    return pull.to(logits.dtype)
