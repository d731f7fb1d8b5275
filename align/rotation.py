"""Turn a model's inner space so that no channel of its activations stands out.

A few channels of the residual stream are many times larger than the others, and 8 bits by token
leave the others little precision. In a space turned by a random orthogonal matrix all are about
equal. RMSNorm without weights commutes with a turn, so that it can be folded into the weights, and
the model computes what it did before (Ashkboos et al. 2024, QuaRot, arXiv 2404.00456, §4; without
the turns that have to be computed while serving).
"""

from typing import Any

import torch

SEED = 0


def rotate(model: Any) -> None:
    """Turn the residual stream, and each head's values, of a Llama in place.

    The weights of the norms go into the linear layers that follow them; the head, which has its
    own weights then, is no longer tied to the embedding.
    """
    inner, config = model.model, model.config
    _untie(model)
    for layer in inner.layers:
        attention, mlp = layer.self_attn, layer.mlp
        reading = (attention.q_proj, attention.k_proj, attention.v_proj)
        _fold(layer.input_layernorm, reading)
        _fold(layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj))
    _fold(inner.norm, (model.lm_head,))

    generator = torch.Generator().manual_seed(SEED)
    turn = orthogonal(config.hidden_size, generator)
    _replace(inner.embed_tokens, inner.embed_tokens.weight.double() @ turn)
    _read_turned(model.lm_head, turn)
    for layer in inner.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
            _read_turned(linear, turn)
        for linear in (mlp.gate_proj, mlp.up_proj):
            _read_turned(linear, turn)
        values = orthogonal(attention.head_dim, generator)
        _write_turned(attention.v_proj, _for_each(attention.v_proj.out_features, values))
        _read_turned(attention.o_proj, _for_each(attention.o_proj.in_features, values))
        _write_turned(attention.o_proj, turn)
        _write_turned(mlp.down_proj, turn)


def orthogonal(size: int, generator: torch.Generator) -> torch.Tensor:
    """A random orthogonal matrix (size, size), uniform over all of them, in float64."""
    drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
    made, upper = torch.linalg.qr(drawn)
    return made * upper.diagonal().sign()


def _for_each(width: int, turn: torch.Tensor) -> torch.Tensor:
    """The turn of every head by itself, for `width` channels of all of them."""
    return torch.block_diag(*[turn] * (width // turn.shape[0]))


def _untie(model: Any) -> None:
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.config.tie_word_embeddings = False


def _fold(norm: Any, linears: tuple[Any, ...]) -> None:
    for linear in linears:
        _replace(linear, linear.weight.double() * norm.weight.double())
    norm.weight.data = torch.ones_like(norm.weight)


def _read_turned(linear: Any, turn: torch.Tensor) -> None:
    """Let a layer expect its inputs turned."""
    _replace(linear, linear.weight.double() @ turn)


def _write_turned(linear: Any, turn: torch.Tensor) -> None:
    """Let a layer turn its outputs."""
    _replace(linear, turn.T @ linear.weight.double())
    if linear.bias is not None:
        linear.bias.data = (linear.bias.double() @ turn).to(linear.bias.dtype)


def _replace(module: Any, weight: torch.Tensor) -> None:
    module.weight.data = weight.detach().to(module.weight.dtype)
