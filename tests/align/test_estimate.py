"""Too little memory or disk is said before training starts, with what to change."""

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from align import estimate
from align.estimate import GIB, Shape, needed
from align.loading import load
from align.recipes import DPO, SFT
from assistant.errors import Invalid
from assistant.settings import Settings
from assistant.version import Version
from tests.align.lessons import teach

Disk = namedtuple("Disk", "total used free")


def rows(length: int, number: int = 8) -> list[dict[str, Any]]:
    """Token rows of pairs, as far as their length is concerned."""
    return [{"length": length, "chosen_ids": [], "rejected_ids": []} for _ in range(number)]


def test_a_shape_has_the_weights_of_the_model(tiny: Version):
    model = load(tiny.path)
    shape = Shape.of(tiny.path)
    norms = sum(weight.numel() for name, weight in model.named_parameters() if "norm" in name)
    assert shape.parameters == model.num_parameters() - norms
    assert shape.bytes_a_weight == 2


def test_layers_that_tell_no_inner_width_have_four_times_theirs(tmp_path: Path):
    config = GPT2Config(n_layer=1, n_embd=64, n_head=2, vocab_size=128, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    assert Shape.of(tmp_path).inner == 256


def test_more_at_once_or_longer_takes_more_memory_and_not_more_disk(embedded_version: Version):
    shape, recipe = Shape.of(embedded_version.path), DPO()
    usual = needed(shape, rows(300), recipe)
    assert 3 * GIB < usual.memory < 9 * GIB
    for more in (
        needed(shape, rows(600), recipe),
        needed(shape, rows(300), replace(recipe, micro_batch=8, batch=8)),
    ):
        assert more.memory > usual.memory
        assert more.disk == usual.disk
    assert needed(shape, rows(300), replace(recipe, rank=0)).disk > usual.disk


@pytest.mark.parametrize(
    ("free", "length", "advice"),
    [
        (3.5, 300, "--micro-batch 2 takes less"),
        (2.6, 900, "--longest 512"),
        (0.5, 300, "stop other"),
    ],
)
def test_too_little_memory_is_said_with_what_to_change(
    embedded_version: Version, tmp_path: Path, monkeypatch, free: float, length: int, advice: str
):
    monkeypatch.setattr(estimate, "available_memory", lambda: free * GIB)
    given = rows(length) + rows(200)
    with pytest.raises(
        Invalid, match=rf"takes about .* GiB of memory, and {free} GiB are free.*{advice}"
    ):
        estimate.check(embedded_version.path, given, DPO(), tmp_path)


def test_weights_take_twice_the_memory_where_16_bits_are_slow(
    embedded_version: Version, monkeypatch: pytest.MonkeyPatch
):
    shape, found = Shape.of(embedded_version.path), {}
    for quick in (True, False):
        monkeypatch.setattr(estimate, "computes_in_bf16", lambda quick=quick: quick)
        found[quick] = needed(shape, rows(300), DPO())
    assert found[True].disk == found[False].disk
    more = found[False].memory - found[True].memory
    assert more == pytest.approx(estimate.SLACK * 2 * shape.parameters, rel=0.01)


def test_too_little_disk_is_said_before_anything_is_trained(settings: Settings, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10, 10, 1000))
    with pytest.raises(Invalid, match=r"has 0\.0 GiB left: free some, or move ASSISTANT_HOME"):
        teach("sft", settings)


def test_what_fits_is_not_complained_about(embedded_version: Version, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(estimate, "available_memory", lambda: 24 * GIB)
    estimate.check(embedded_version.path, rows(512), SFT(), tmp_path)
