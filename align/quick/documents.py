"""Attention within each document of a packed row, on a CPU.

`transformers` knows from positions that begin anew where documents begin, and hides the others
behind a mask over the whole row: its time grows with the square of all tokens that are computed at
once. Here each document is computed by itself, which gives the same numbers.
"""

import itertools
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

BY_DOCUMENT = "by_document"
TELL_POSITIONS = ("llama", "qwen2", "qwen3")  # kinds of models whose attention is told them


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    position_ids: torch.Tensor,
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of heads (1, heads, length, head_dim) within each document.

    `position_ids` (1, length) begin anew at 0 where a document does. Returns (1, length, heads,
    head_dim).
    """
    starts = (position_ids[0] == 0).nonzero().flatten().tolist()
    lengths = [b - a for a, b in itertools.pairwise([*starts, query.shape[2]])]
    each = zip(*(heads.split(lengths, dim=2) for heads in (query, key, value)), strict=True)
    found = [sdpa_attention_forward(module, q, k, v, None, **given)[0] for q, k, v in each]
    return torch.cat(found, dim=1), None


def apart(model: Any) -> None:
    """Let a model on a CPU, which reads one packed row at a time, compute documents by themselves.

    A model of another kind, or one that sees a window alone, keeps what it has.
    """
    config = model.config
    known = config.model_type in TELL_POSITIONS and config._attn_implementation == "sdpa"
    if known and model.device.type == "cpu" and not getattr(config, "sliding_window", None):
        AttentionInterface.register(BY_DOCUMENT, attention)
        model.set_attn_implementation(BY_DOCUMENT)
