"""Drawing tokens on a CPU without noise for every token of the vocabulary, and without sorting it.

vLLM 0.32 computes a logarithm per token and row to draw one of them, and sorts every row where
`top_p` is asked for: up to a quarter, and nearly all, of a step of a small model. Here a token is
drawn from the sums of probabilities, in two steps; for `top_p` a draw is repeated until it falls
into the nucleus, which is told by the probability of all likelier tokens (rejection with a rising
bound, as FlashInfer draws on GPUs, arXiv 2501.01005). The distribution is the same.
"""

import logging
from typing import Any

import torch

BLOCK = 256  # tokens; a vocabulary of V is searched as V / BLOCK sums, then as one block
BELOW_ONE = 1 - 2**-52  # times any float is a lesser float
SEAMS = ("apply_top_k_only", "TopKTopPSampler")

Generators = dict[int, torch.Generator]


def install() -> None:
    """Let vLLM's sampler on a CPU draw so."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - not in ours
    from vllm.v1.sample.ops import topk_topp_sampler  # noqa: PLC0415

    sampler: Any = getattr(topk_topp_sampler, "TopKTopPSampler", None)
    if not current_platform.is_cpu() or getattr(sampler, "draws_by_sums", False):
        return
    if not all(hasattr(topk_topp_sampler, seam) for seam in SEAMS) or not hasattr(
        sampler, "forward_cpu"
    ):
        logging.getLogger(__name__).warning("vLLM draws in another way: it is left as it is")
        return
    as_it_was = sampler.forward_cpu

    def forward_cpu(
        self: Any,
        logits: torch.Tensor,
        generators: Generators,
        k: torch.Tensor | None,
        p: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self.logprobs_mode.startswith("processed") or self.use_fp64_gumbel:
            return as_it_was(self, logits, generators, k, p)  # type: ignore[no-any-return]
        if k is not None:
            logits = topk_topp_sampler.apply_top_k_only(logits, k)
        return draw(logits, p, generators), None

    sampler.forward_cpu, sampler.draws_by_sums = forward_cpu, True


def draw(logits: torch.Tensor, p: torch.Tensor | None, generators: Generators) -> torch.Tensor:
    """A token for each row of `logits` (rows, vocabulary), of its nucleus of `p` (rows,) if given.

    A nucleus is the likeliest tokens until their probabilities sum up to p; of tokens as likely as
    its last all belong to it. A row with a generator draws from that alone. Returns (rows,) int64.
    """
    probabilities = logits.softmax(dim=-1, dtype=torch.float32)
    rows = list(range(len(logits)))
    drawn = _drawn(probabilities, _uniform(rows, generators))
    if p is None:
        return drawn
    open_rows = torch.arange(len(logits))[p < 1]
    while len(open_rows):
        left = probabilities[open_rows]
        bound = left.gather(1, drawn[open_rows].unsqueeze(1))
        likelier = left.masked_fill_(left <= bound, 0)
        outside = likelier.sum(dim=-1) >= p[open_rows]
        open_rows = open_rows[outside]
        if len(open_rows):  # none outside is drawn again, nor what is less likely
            probabilities[open_rows] = likelier = likelier[outside]
            drawn[open_rows] = _drawn(likelier, _uniform(open_rows.tolist(), generators))
    return drawn


def _uniform(rows: list[int], generators: Generators) -> torch.Tensor:
    """Numbers in [0, 1) of the rows' own generators, or of the common one."""
    numbers = torch.rand(len(rows), 1, dtype=torch.float64)
    for place, row in enumerate(rows):
        if row in generators:
            numbers[place] = torch.rand(1, dtype=torch.float64, generator=generators[row])
    return numbers


def _drawn(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The token of each row at which the sum of weights (rows, vocabulary) passes its part."""
    vocabulary = weights.shape[1]
    sums = _block_sums(weights)
    block, part = _passed(sums.double(), uniform)
    tokens = block * BLOCK + torch.arange(BLOCK)
    beyond = tokens >= vocabulary
    inside = weights.gather(1, tokens.clamp(max=vocabulary - 1)).double().masked_fill_(beyond, 0)
    place, _ = _passed(inside, part)
    return (block * BLOCK + place).squeeze(1)


def _block_sums(weights: torch.Tensor) -> torch.Tensor:
    rows, vocabulary = weights.shape
    whole = vocabulary // BLOCK * BLOCK
    sums = weights[:, :whole].view(rows, -1, BLOCK).sum(dim=-1)
    rest = weights[:, whole:].sum(dim=-1, keepdim=True)
    return torch.cat([sums, rest], dim=1) if whole < vocabulary else sums


def _passed(weights: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the running sum passes a part of the whole, and how far into that place it is."""
    running = weights.cumsum(dim=-1)
    wanted = uniform.clamp(max=BELOW_ONE) * running[:, -1:]
    place = torch.searchsorted(running, wanted, right=True).clamp_(max=weights.shape[1] - 1)
    weight = weights.gather(1, place)
    into = (wanted - running.gather(1, place) + weight) / weight
    return place, into.clamp(0, BELOW_ONE)
