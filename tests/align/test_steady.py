"""How far a stage may move: as far as plain text allows, and no further."""

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file

from align import steady
from align.recipes import DPO, KTO, SFT
from align.rendering import tokenizer_of
from align.training import MADE, load, lora
from assistant import prompts
from assistant.version import Version

ALLOWANCE = 0.03
ANCHOR = prompts.load("anchor.txt").split("\n\n")[0]
ROW = {"prompt_ids": [5, 6], "length": 8, "temperature": 1.0}
TOKENS: dict[str, list[dict[str, Any]]] = {
    "sft": [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "length": 3, "temperature": 1.0}] * 8,
    "dpo": [ROW | {"chosen_ids": [7, 2], "rejected_ids": [8, 9, 2]}] * 8,
    "kto": [ROW | {"completion_ids": [n, 2], "label": n > 10} for n in range(7, 15)],
}
STAGES = [("sft", SFT), ("dpo", DPO), ("kto", KTO)]


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


@pytest.mark.long
def test_the_largest_share_that_fits_is_kept(base: Path, tmp_path: Path):
    shares = [
        steady.steadied(load(base), base, adapter_of(base, tmp_path / name, 0.2), allowance)
        for name, allowance in (("a", 0.01), ("b", 0.3), ("c", 1e9))
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


def moved(base: Path, adapter: Path) -> float:
    """How differently the first paragraph of the anchor is expected with an adapter."""
    ids = tokenizer_of(base)(ANCHOR, return_tensors="pt").input_ids
    with torch.no_grad():
        before = load(base)(ids).logits[0, :-1].float().log_softmax(-1)
        now = PeftModel.from_pretrained(load(base), adapter)(ids).logits[0, :-1].float()
    return float(steady.divergence(before, now.log_softmax(-1)))


def test_divergence_is_in_nats_by_token():
    fair, sure = (
        torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log(),
        torch.tensor([[0.8, 0.2], [0.5, 0.5]]),
    )
    assert float(steady.divergence(fair, sure.log())) == pytest.approx(
        0.5 * math.log(1.25), abs=1e-6
    )
    assert float(steady.divergence(fair, fair)) == 0


@pytest.mark.parametrize(("stage", "recipe"), STAGES)
def test_training_is_held_to_what_plain_text_was(tiny: Version, tmp_path: Path, stage, recipe):
    learnt, far = {}, {}
    for anchor in (0.0, 300.0):
        out = tmp_path / str(anchor)
        run = importlib.import_module(f"align.{stage}").run
        knobs = recipe(anchor=anchor, drift=10, epochs=3, learning_rate=2e-3)
        run(knobs, 0, tiny.path, TOKENS[stage], out)
        far[anchor] = moved(tiny.path, out / MADE / "adapter")
        learnt[anchor] = json.loads((out / MADE / "curve.jsonl").read_text().splitlines()[0])
    assert far[300.0] < far[0.0] / 2
    assert learnt[300.0]["loss"] == pytest.approx(
        learnt[0.0]["loss"], rel=1e-3
    )  # nothing moved yet
