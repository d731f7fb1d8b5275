"""Attention by document: what transformers computes behind a mask, without the mask."""

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

from align.quick import documents

SIZE = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
LENGTHS = (5, 1, 9, 3)


def model_of(kind: str, **more: object):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SIZE, **more)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


@pytest.mark.parametrize("kind", documents.TELL_POSITIONS)
def test_logits_and_gradients_are_those_behind_a_mask(kind: str):
    ids = torch.randint(0, 99, (1, sum(LENGTHS)))
    places = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    found = []
    for each in (False, True):
        model = model_of(kind)
        if each:
            documents.apart(model)
            assert model.config._attn_implementation == documents.BY_DOCUMENT
        logits = model(ids, position_ids=places, use_cache=False).logits
        logits.logsumexp(-1).sum().backward()
        found.append([logits, *(weight.grad for weight in model.parameters())])
    for there, here in zip(*found, strict=True):
        assert_close(here, there, rtol=1e-4, atol=1e-5)


def test_transformers_computes_every_pair_of_tokens_itself():
    """Once it does not, ours can go: a mask over the whole row is what it still makes."""
    seen = []
    model = model_of("llama")
    attend = model.model.layers[0].self_attn
    attend.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(given["attention_mask"]), with_kwargs=True
    )
    places = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    model(torch.zeros_like(places), position_ids=places, use_cache=False)
    assert seen[0].shape[-2:] == (sum(LENGTHS), sum(LENGTHS))


@pytest.mark.parametrize(
    ("kind", "more"), [("mistral", {"sliding_window": 4}), ("gemma2", {}), ("olmo2", {})]
)
def test_other_models_keep_what_they_have(kind: str, more: dict):
    model = model_of(kind, **more)
    documents.apart(model)
    assert model.config._attn_implementation == "sdpa"
