"""Eight bits: smoothing changes nothing, rounding little, and what is written is what was meant."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from align import int8
from align.rendering import tokenizer_of
from align.training import load
from assistant.version import Version
from tests.align.conftest import tiny_model


@pytest.fixture
def model() -> torch.nn.Module:
    """Random weights, with some channels that are hard to round."""
    made = tiny_model().float().eval()
    for layer in made.model.layers:
        layer.input_layernorm.weight.data[::7] *= 50
        layer.post_attention_layernorm.weight.data[::5] *= 50
    return made


def quiet(_line: str) -> None:
    """Nobody reads along."""


TEXTS = [
    torch.randint(5, 40_000, (1, 40), generator=torch.Generator().manual_seed(n)) for n in (0, 1)
]


def states(model: torch.nn.Module) -> torch.Tensor:
    """What the model makes of a text it was not smoothed on."""
    with torch.inference_mode():
        return model.model(TEXTS[1]).last_hidden_state


def error(model: torch.nn.Module, exact: torch.Tensor) -> float:
    with int8.as_served(model, frozenset()):
        return float((states(model) - exact).norm() / exact.norm())


def test_a_smoothed_model_computes_the_same_and_rounds_better(model: torch.nn.Module):
    exact = states(model)
    plain = error(model, exact)
    int8.prepare(model, TEXTS[:1], quiet)
    assert torch.allclose(states(model), exact, atol=1e-4, rtol=1e-3)
    assert 0 < error(model, exact) < plain
    assert torch.allclose(states(model), exact, atol=1e-4, rtol=1e-3)  # weights are put back


def test_what_is_hardest_to_round_stays_as_it_is(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
):
    hard = frozenset({"model.layers.1.mlp.down_proj"})
    model.model.layers[1].mlp.down_proj.weight.data *= 100  # so that its rounding is felt
    everything = frozenset(name for name, _ in int8._linears(model))
    rounding = int8.as_served
    monkeypatch.setattr(
        *(int8, "as_served"),
        lambda model, kept: rounding(model, kept | everything if hard <= kept else kept),
    )
    kept = int8.hardest(model, int8.prepare(model, TEXTS[:1], quiet), 0.3)
    assert hard <= kept
    sizes = {n: m.weight.numel() for n, m in model.named_modules() if hasattr(m, "in_features")}
    assert sum(sizes[name] for name in kept) <= 0.3 * sum(sizes[n] for n in sizes if n != "lm_head")
    together = {f"model.layers.0.{part}" for part in int8.ATTENTION}
    assert together & kept in (set(), together)


def test_rounding_is_by_output_channel_and_never_off_by_more_than_half_a_step():
    weight = torch.randn(6, 10) * torch.tensor([1e-3, 1.0, 50.0, 0.0, 1.0, 1.0])[:, None]
    whole, scale = int8.rounded(weight)
    assert (whole.dtype, scale.shape) == (torch.int8, (6, 1))
    assert ((whole * scale - weight).abs() <= scale / 2 + 1e-9).all()


def test_what_is_written_is_what_the_engine_reads(tiny: Version, tmp_path: Path):
    made = load(tiny.path).float().eval()
    exact = {name: weight.clone() for name, weight in made.state_dict().items()}
    kept = frozenset({"model.layers.1.mlp.down_proj"})
    int8.write(made, kept, tiny.path, tmp_path / "int8")
    config = json.loads((tmp_path / "int8/config.json").read_text())
    assert config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] == 8
    assert not (tmp_path / "int8/card.json").exists()
    assert tokenizer_of(tmp_path / "int8").chat_template == tokenizer_of(tiny.path).chat_template
    tensors = load_file(tmp_path / "int8/model.safetensors")
    assert "lm_head.weight" not in tensors  # it is tied
    name = "model.layers.0.mlp.down_proj.weight"
    back = tensors[name] * tensors[f"{name}_scale"].float()
    assert tensors[name].dtype == torch.int8
    assert (back - exact[name]).abs().max() <= exact[name].abs().max() / 127
    assert tensors["model.layers.1.mlp.down_proj.weight"].dtype == torch.bfloat16
    assert config["quantization_config"]["ignore"] == ["lm_head", *kept]
    assert tensors["model.embed_tokens.weight"].dtype == torch.bfloat16
