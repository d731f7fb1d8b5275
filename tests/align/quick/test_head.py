"""Speed: the head that replaces TRL's own on a CPU computes the same."""

import copy
import inspect
import json
from typing import Any

import pytest
import torch
import trl.trainer.utils
from torch.testing import assert_close
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTJConfig,
    GPTJForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)
from trl.trainer.utils import add_fused_lm_head

from align.quick.head import IGNORED, ROWS, compact_lm_head
from assistant.settings import Settings
from tests.align.conftest import tiny_model
from tests.align.lessons import teach

SMALL: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
GRANITE = GraniteConfig(**SMALL, logits_scaling=8.0)
GEMMA = Gemma2Config(**SMALL, final_logit_softcapping=0.5)
GPTJ = GPTJConfig(vocab_size=300, n_positions=128, n_embd=32, n_layer=1, n_head=2, rotary_dim=8)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    """Four padded rows; more positions are learnt than are scored at once, and one row has none."""
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 49152, (4, 120), generator=dice)
    mask = torch.ones_like(ids)
    mask[1, 100:] = 0
    labels = ids.masked_fill(mask == 0, IGNORED)
    labels[:, :7] = IGNORED
    labels[2] = IGNORED
    labels[3, 50:60] = IGNORED
    assert (labels[:, 1:] != IGNORED).sum() > 2 * ROWS
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def both(model: Any, head_learns: bool = False) -> tuple[Any, Any]:
    """The same model with TRL's head, and with ours over it as in training."""
    theirs, ours = copy.deepcopy(model), copy.deepcopy(model)
    add_fused_lm_head(theirs)
    add_fused_lm_head(ours)
    compact_lm_head(ours)
    for one in (theirs, ours):
        one.get_output_embeddings().weight.requires_grad_(head_learns)
    return theirs, ours


def trained(
    model: Any, batch: dict[str, torch.Tensor], weights: torch.Tensor | None = None, **more
):
    """The output of one pass and the gradients it leaves."""
    out = model(**batch, fused_lm_head=True, **more)
    loss = out.loss if weights is None else (out.log_probs * weights).sum()
    loss.backward()
    return out, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def near(gradient: torch.Tensor) -> float:
    """How far sums of float32 in another order may lie apart."""
    return 1e-5 * float(gradient.abs().max())


@pytest.mark.parametrize("more", [{}, {"num_items_in_batch": 500}])
def test_losses_log_probabilities_and_gradients_are_those_of_trl(model, batch, more):
    theirs, ours = both(model)
    expected, their_gradients = trained(theirs, batch, **more)
    found, our_gradients = trained(ours, batch, **more)
    assert_close(found.loss, expected.loss)
    assert_close(found.log_probs, expected.log_probs)
    assert torch.equal(found.label_mask, expected.label_mask)
    assert our_gradients.keys() == their_gradients.keys()
    assert len(our_gradients) > 10
    for name, gradient in their_gradients.items():
        assert gradient.abs().max() > 0, name
        assert_close(our_gradients[name], gradient, rtol=1e-4, atol=near(gradient))


def test_where_all_weights_are_trained_the_head_learns_as_with_trl(model, batch):
    theirs, ours = both(model, head_learns=True)
    _, expected = trained(theirs, batch)
    _, found = trained(ours, batch)
    head = "model.embed_tokens.weight"  # tied
    assert expected[head].abs().max() > 0
    assert_close(found[head], expected[head], rtol=1e-4, atol=near(expected[head]))


def test_every_position_keeps_its_own_gradient(model, batch):
    """Preference losses weigh answers differently, and some with a minus."""
    theirs, ours = both(model)
    weights = torch.randn((4, 119), generator=torch.Generator().manual_seed(1))
    _, expected = trained(theirs, batch, weights)
    _, found = trained(ours, batch, weights)
    for name, gradient in expected.items():
        assert_close(found[name], gradient, rtol=1e-4, atol=near(gradient))


def test_what_is_not_learnt_has_no_log_probability(model, batch):
    _, ours = both(model)
    out = ours(**batch, fused_lm_head=True)
    unlearnt = batch["labels"][:, 1:] == IGNORED
    assert (out.log_probs[unlearnt] == 0).all()
    assert (out.log_probs[~unlearnt] < 0).all()


def test_a_batch_without_anything_to_learn_is_a_loss_of_zero(model, batch):
    theirs, ours = both(model)
    empty = batch | {"labels": torch.full_like(batch["labels"], IGNORED)}
    for one in (theirs, ours):
        out, gradients = trained(one, empty)
        assert out.loss == 0
        assert all((gradient == 0).all() for gradient in gradients.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a trainer's model on a GPU keeps TRL's head")
@pytest.mark.parametrize("stage", ["sft", "dpo", "kto"])
def test_every_stage_computes_with_our_head_alone(
    stage: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any) -> None:
        raise AssertionError("TRL's own head was used")

    monkeypatch.setattr(trl.trainer.utils._ChunkedLogProbFunction, "apply", refuse)
    made = teach(stage, settings).path / "made" / stage
    curve = [json.loads(line) for line in (made / "curve.jsonl").read_text().splitlines()]
    for name in set().union(*curve) - {"moved"}:  # plain text is not held here
        assert any(step.get(name) for step in curve), f"{name}: was it computed?"


def test_without_being_asked_for_the_head_is_the_models_own(model, batch):
    _, ours = both(model)
    with torch.inference_mode():
        assert torch.equal(ours(batch["input_ids"]).logits, model(batch["input_ids"]).logits)


@pytest.mark.parametrize(
    ("kind", "config"),
    [(GraniteForCausalLM, GRANITE), (Gemma2ForCausalLM, GEMMA), (GPTJForCausalLM, GPTJ)],
    ids=["scaled", "capped", "with a bias"],
)
def test_models_with_an_unusual_head_keep_the_one_of_trl(kind, config):
    torch.manual_seed(0)
    model = kind(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    theirs, ours = both(model)
    ids = torch.randint(5, 300, (2, 20))
    with torch.inference_mode():
        expected, found = (
            one(input_ids=ids, labels=ids, fused_lm_head=True).log_probs for one in (theirs, ours)
        )
        plain = model(ids).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    assert_close(found, expected)
    assert_close(found, plain)


def test_trl_still_scores_every_position_on_a_cpu():
    assert "compact = _use_triton(" in inspect.getsource(add_fused_lm_head), (
        "TRL may score only learnt positions on a CPU by itself now: run `make bench-train` "
        "without align/quick/head.py, and remove it and this test if nothing is lost."
    )
