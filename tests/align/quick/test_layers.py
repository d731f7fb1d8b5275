"""Layers of our own: values and gradients are those of transformers, and fewer tokens are read."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.testing import assert_close
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    Trainer,
)
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from align.quick import layers
from align.quick.model import quicken
from align.quick.rows import SHARED, laid
from align.training import TakesTokens
from assistant.settings import Settings
from tests.align.lessons import teach

CONFIG = LlamaConfig(
    vocab_size=300, hidden_size=96, intermediate_size=160, num_hidden_layers=3,
    num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=256, pad_token_id=0,
)  # fmt: skip
LENGTHS = (70, 55, 31, 64, 40, 33)
ALIKE = 20
IGNORED = -100
STEPS = 20
Change = Callable[[LlamaConfig], Any]


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    """Three pairs of rows, padded; two of them begin alike."""
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 300, (6, 70), generator=dice)
    ids[3:5, :ALIKE] = ids[:2, :ALIKE]
    mask = torch.ones_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, length:] = 0
    labels = ids.masked_fill(mask == 0, IGNORED)
    ids = ids.masked_fill(mask == 0, CONFIG.pad_token_id)
    labels[:, :ALIKE] = IGNORED
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def made(kind: torch.dtype = torch.float32, config: LlamaConfig = CONFIG) -> PeftModel:
    """A model with adapters that already do something."""
    torch.manual_seed(0)
    adapters = LoraConfig(r=8, lora_alpha=24, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(LlamaForCausalLM(config).to(kind), adapters)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def quick(kind: torch.dtype = torch.float32) -> PeftModel:
    """The same model, made quick."""
    model = made(kind)
    assert layers.quicken(model.get_base_model().model)
    return model


def through(model: PeftModel, batch: dict[str, torch.Tensor]) -> tuple[Any, dict[str, Any]]:
    """What a model says of a batch, and the gradients of its loss."""
    model.zero_grad()
    kind = model.get_base_model().model.embed_tokens.weight.dtype
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
        out = model(**batch, use_cache=False)
    out.loss.backward()
    learnt = {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}
    return out, learnt


def test_losses_values_and_gradients_are_those_of_transformers(batch):
    (theirs, their_gradients), (ours, our_gradients) = (
        through(model, batch) for model in (made(), quick())
    )
    there = batch["attention_mask"].bool()
    assert_close(ours.loss, theirs.loss, rtol=1e-5, atol=0)
    assert_close(ours.logits[there], theirs.logits[there], rtol=1e-4, atol=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        assert (our_gradients[name] - gradient).norm() < 1e-4 * gradient.norm(), name


def test_in_bf16_they_are_about_as_near_to_float_as_those_of_transformers(batch):
    exact = through(made(), batch)[1]

    def off(model: PeftModel) -> float:
        found = through(model, batch)[1]
        return sum(float((found[n] - g).norm() / g.norm()) for n, g in exact.items())

    assert off(quick(torch.bfloat16)) < 1.25 * off(made(torch.bfloat16))


def test_twenty_steps_lead_to_the_same(batch):
    losses = []
    for model in (made(), quick()):
        learner = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-3)
        for _ in range(STEPS):
            learner.zero_grad()
            loss = model(**batch, use_cache=False).loss
            loss.backward()
            learner.step()
        losses.append(loss.item())
    theirs, ours = losses
    assert ours == pytest.approx(theirs, rel=1e-3)
    assert ours < 5.4  # of 5.7


def test_without_its_adapters_it_is_the_model_that_it_was(batch):
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        found = []
        for model in (made(), quick()):
            with model.disable_adapter():
                found.append(model(**given, use_cache=False).logits)
    there = batch["attention_mask"].bool()
    assert_close(found[1][there], found[0][there], rtol=1e-4, atol=1e-5)


def test_what_it_generates_is_what_it_would_have(batch):
    asked = batch["input_ids"][:1, :30]
    said = [
        model.generate(input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=9)
        for model in (made(), quick())
    ]
    assert torch.equal(*said)


def test_rows_padded_on_the_left_take_the_usual_way(batch):
    given = {name: batch[name].flip(1) for name in ("input_ids", "attention_mask")}
    there = given["attention_mask"].bool()
    with torch.no_grad():
        theirs, ours = (model(**given).logits for model in (made(), quick()))
    assert_close(ours[there], theirs[there])


def test_padding_is_not_read_and_what_is_alike_is_read_once(batch):
    rows = laid(batch["input_ids"], batch["attention_mask"])
    assert len(rows.tokens) == sum(LENGTHS) - 2 * ALIKE
    assert rows.segments[:, 3].sum() == len(rows.tokens)
    ids = batch["input_ids"].flatten()[rows.tokens]
    there = batch["attention_mask"].bool()
    assert torch.equal(ids[rows.places][there], batch["input_ids"][there])


@pytest.mark.parametrize(("alike", "shared"), [(SHARED - 1, 0), (SHARED, SHARED), (30, 29)])
def test_a_row_keeps_a_token_of_its_own(alike: int, shared: int):
    ids = torch.arange(60).view(2, 30)
    ids[1, :alike] = ids[0, :alike]
    assert len(laid(ids, None).tokens) == 60 - shared


def changed(**values: Any) -> LlamaConfig:
    return LlamaConfig(**CONFIG.to_dict() | values)


@pytest.mark.parametrize(
    "config",
    [changed(attention_bias=True), changed(hidden_act="gelu"), changed(head_dim=24)],
    ids=["a bias", "another activation", "heads of another width"],
)
def test_other_models_stay_as_they_are(config: LlamaConfig):
    model = made(config=config).get_base_model().model
    before = model.forward
    assert not layers.quicken(model)
    assert model.forward == before


def test_a_model_without_adapters_stays_as_it_is():
    assert not layers.quicken(LlamaForCausalLM(CONFIG).model)


def test_without_a_compiler_a_model_stays_as_it_is(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "/nowhere/g++")
    layers.load.cache_clear()
    assert not layers.quicken(made().get_base_model().model)
    layers.load.cache_clear()
    assert "slower than it could be" in caplog.text


def test_a_scorer_is_made_quick_too(batch):
    torch.manual_seed(0)
    adapters = LoraConfig(r=4, target_modules="all-linear", task_type="SEQ_CLS")
    scorer = get_peft_model(LlamaForSequenceClassification(CONFIG), adapters)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    before = scorer(**given, use_cache=False).logits
    trainer = SimpleNamespace(model=scorer, is_fsdp_enabled=False)
    quicken(trainer)
    quicken(trainer)
    assert_close(scorer(**given, use_cache=False).logits, before, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a trainer's model on a GPU keeps its layers")
@pytest.mark.parametrize("stage", ["sft", "dpo", "kto"])
def test_every_stage_goes_through_our_layers_alone(
    stage: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    """In training, and where the base is asked beforehand."""
    within: list[str] = []
    passed = []

    def noted(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*given: Any, **more: Any) -> Any:
            within.append(name)
            try:
                return original(*given, **more)
            finally:
                within.pop()

        monkeypatch.setattr(owner, name, call)

    def theirs(self: Any, *given: Any, **more: Any) -> Any:
        assert not within, "transformers' layer was used"
        return forward(self, *given, **more)

    noted(Trainer, "train")
    noted(TakesTokens, "_precompute_ref_logps")
    forward, through = LlamaDecoderLayer.forward, layers._Through.apply
    monkeypatch.setattr(LlamaDecoderLayer, "forward", theirs)
    monkeypatch.setattr(
        layers._Through, "apply", lambda *given: passed.append(1) or through(*given)
    )
    assert teach(stage, settings).kind == stage
    assert passed
