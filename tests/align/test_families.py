"""One adapter for all that a version and its ancestors learnt adds what the merged ones have."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from align import families
from align.families import FOLDER, descend
from align.loading import load
from align.merging import merge
from assistant.version import Adapter, Version


def stage(base: Path, out: Path, seed: int, rank: int) -> Path:
    """A model folder merged from a base and a random adapter, which lies in `made/adapter`."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    tuned = get_peft_model(load(base).float(), config)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    tuned.save_pretrained(out / "made/adapter")
    merge(base, out / "made/adapter", out)
    return out


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(5, 25)[None]).logits.float()


def grandchild(tiny: Version, tmp_path: Path) -> tuple[Path, Adapter | None]:
    """Two stages after `tiny`, then one more, and its adapter."""
    first = stage(tiny.path, tmp_path / "first", 1, 4)
    second = stage(first, tmp_path / "second", 2, 8)
    adapters = [first / "made/adapter", second / "made/adapter"]
    adapter = descend(tiny, adapters, second / "made")
    child = replace(tiny, name="child", folder=str(second), adapter=adapter)
    third = stage(second, tmp_path / "third", 3, 4)
    return third, descend(child, [third / "made/adapter"], third / "made")


def test_a_familys_adapter_adds_up_to_the_merged_weights(tiny: Version, tmp_path: Path):
    last, adapter = grandchild(tiny, tmp_path)
    assert (adapter.of, adapter.of_hash, adapter.rank) == ("tiny", tiny.content_hash, 16)
    folder = last / adapter.folder
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 16
    assert set(adapter.files) == {"adapter_config.json", "adapter_model.safetensors"}
    added = PeftModel.from_pretrained(load(tiny.path).float(), folder).eval()
    merged, before = load(last).float().eval(), load(tiny.path).float().eval()
    learnt = (logits(merged) - logits(before)).norm()
    assert (logits(added) - logits(merged)).norm() < 0.05 * learnt  # what bf16 rounds away


def test_where_all_weights_were_trained_there_is_no_adapter(tiny: Version, tmp_path: Path):
    whole = tmp_path / "whole/made/adapter"
    assert descend(tiny, [whole], tmp_path / "whole/made") is None


def test_ranks_beyond_what_engines_serve_make_no_adapter(
    tiny: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(families, "MOST_RANK", 15)
    last, adapter = grandchild(tiny, tmp_path)
    assert adapter is None
    assert not (last / "made" / FOLDER).exists()
