"""Turning a model's inner space: it computes the same, and no channel stands out any more."""

import torch

from align.rotation import orthogonal, rotate
from tests.align.conftest import tiny_model

IDS = torch.randint(5, 40_000, (1, 40), generator=torch.Generator().manual_seed(0))


def outstanding() -> torch.nn.Module:
    """Random weights with a few channels far larger than the others, and odd norms."""
    model = tiny_model().float().eval()
    model.model.embed_tokens.weight.data[:, ::9] *= 20
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    return model


def seen(model: torch.nn.Module) -> torch.Tensor:
    """What the first layer reads: (length, width)."""
    found = []
    hook = model.model.layers[0].self_attn.q_proj.register_forward_pre_hook(
        lambda _, given: found.append(given[0][0])
    )
    model(IDS)
    hook.remove()
    return found[0]


def peak(states: torch.Tensor) -> float:
    """How far the largest channel of a token stands out from its typical one."""
    return float((states.abs().amax(-1) / states.square().mean(-1).sqrt()).mean())


def test_a_turned_model_computes_what_it_did():
    model = outstanding()
    with torch.no_grad():
        before = model(IDS).logits
        rotate(model)
        after = model(IDS).logits
    assert torch.allclose(before, after, atol=1e-3 * float(before.abs().max()))
    assert not model.config.tie_word_embeddings
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()


def test_no_channel_stands_out_in_a_turned_model():
    model = outstanding()
    with torch.no_grad():
        before = peak(seen(model))
        rotate(model)
        assert peak(seen(model)) < 0.8 * before


def test_a_turn_is_orthogonal_and_the_seeds():
    turn = orthogonal(12, torch.Generator().manual_seed(3))
    assert torch.allclose(turn @ turn.T, torch.eye(12, dtype=torch.float64))
    assert torch.equal(turn, orthogonal(12, torch.Generator().manual_seed(3)))
