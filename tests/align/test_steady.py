"""How far a stage may move: as far as plain text allows, and no further."""

import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file

from align import steady
from align.recipes import DPO
from align.rendering import tokenizer_of
from align.training import load, lora
from assistant import prompts
from assistant.registry import Version

ALLOWANCE = 0.03


@pytest.fixture
def base(embedded_version: Version, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that knows how people write, and a short text, so that looking takes no time."""
    text = prompts.load("steady.txt").split("\n\n")[0]
    monkeypatch.setattr(steady.prompts, "load", lambda _: text)
    return embedded_version.path


def adapter_of(base: Path, folder: Path, size: float) -> Path:
    """An adapter that changes every layer by random amounts of about that size."""
    torch.manual_seed(0)
    tuned = get_peft_model(load(base).float(), lora(DPO(rank=4)))
    for name, matrix in tuned.named_parameters():
        if "lora_B" in name:
            matrix.data.normal_(0, size)
    tuned.save_pretrained(folder)
    return folder


def rise(base: Path, adapter: Path) -> float:
    """By how much plain text becomes less likely with the adapter."""
    tuned = PeftModel.from_pretrained(load(base).float(), adapter).eval()
    texts = steady._texts(tokenizer_of(base))
    return math.exp(steady._loss(tuned, texts, 1.0) - steady._loss(tuned, texts, 0.0)) - 1


def test_what_moves_too_far_is_scaled_down_until_it_fits(base: Path, tmp_path: Path):
    adapter = adapter_of(base, tmp_path / "adapter", 0.2)
    before = load_file(adapter / steady.MATRICES)
    assert rise(base, adapter) > ALLOWANCE
    share = steady.steadied(load(base), base, adapter, ALLOWANCE)
    assert 0 < share < 1
    assert rise(base, adapter) <= ALLOWANCE + 1e-4
    after = load_file(adapter / steady.MATRICES)
    for name, matrix in before.items():
        expected = matrix * share if "lora_B" in name else matrix
        assert torch.allclose(after[name], expected), name


def test_the_largest_share_that_fits_is_kept(base: Path, tmp_path: Path):
    shares = [
        steady.steadied(load(base), base, adapter_of(base, tmp_path / name, 0.2), allowance)
        for name, allowance in (("a", 0.01), ("b", 0.05), ("c", 1e9))
    ]
    assert shares[0] < shares[1] < shares[2] == 1.0


def test_what_moves_little_is_left_as_it_is(base: Path, tmp_path: Path):
    adapter = adapter_of(base, tmp_path / "adapter", 1e-4)
    before = (adapter / steady.MATRICES).read_bytes()
    assert steady.steadied(load(base), base, adapter, ALLOWANCE) == 1.0
    assert (adapter / steady.MATRICES).read_bytes() == before


def test_something_is_always_kept(base: Path, tmp_path: Path):
    adapter = adapter_of(base, tmp_path / "adapter", 30.0)
    share = steady.steadied(load(base), base, adapter, 0.0)
    assert share == pytest.approx(2**-steady.HALVINGS)
