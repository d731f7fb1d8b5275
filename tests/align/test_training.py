"""Training: nothing is lost on the way to a merged model, and nothing broken gets there."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from transformers import TrainerControl, TrainerState

from align.curve import Clock
from align.loading import load
from align.merging import TrainingFailed, check_adapter, merge
from align.recipes import SFT, Recipe
from align.training import (
    CHECKPOINT_FILES,
    CHECKPOINT_WEIGHTS,
    arguments,
    arranged,
    at_temperature,
    last_whole,
    lora,
)
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.align.conftest import NAME, home_with
from tests.align.lessons import files_no_larger_than, teach

LENGTHS = st.lists(st.integers(1, 50), max_size=60)
OUT = "model.layers.0.self_attn.o_proj.weight"


@pytest.fixture
def adapter(tiny: Version, tmp_path: Path) -> Path:
    """An adapter as training begins with: A is random, B is zero."""
    get_peft_model(load(tiny.path).float(), lora(SFT(rank=4))).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def change(adapter: Path, factor: float) -> None:
    """Fill every matrix with noise of a size."""
    file = adapter / "adapter_model.safetensors"
    dice = torch.Generator().manual_seed(0)
    save_file(
        {n: torch.randn(m.shape, generator=dice) * factor for n, m in load_file(file).items()}, file
    )


@pytest.mark.parametrize(
    ("temperature", "divisor"), [(1.0, 1.0), (0.8, 0.8), (0.01, 0.5), (2.0, 1.5)]
)
def test_logits_are_those_at_the_temperature_of_sampling(tiny: Version, temperature, divisor):
    ids = torch.arange(1, 20)[None]
    plain, cooled = load(tiny.path, torch.float32), load(tiny.path, torch.float32)
    at_temperature(cooled, temperature)
    with torch.inference_mode():
        assert torch.allclose(cooled(ids).logits, plain(ids).logits / divisor, atol=1e-4)


def test_a_report_that_cannot_be_made_is_refused_before_training(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Invalid, match="pip install tensorboard"):
        teach("sft", settings, report_to="tensorboard")


@given(lengths=LENGTHS, batch=st.integers(1, 9), seed=st.integers(0, 3))
def test_arranging_keeps_every_row_once_and_is_repeatable(lengths, batch, seed):
    rows = [{"n": n, "length": length} for n, length in enumerate(lengths)]
    found = arranged(rows, batch, seed)
    assert sorted(found, key=lambda row: row["n"]) == rows
    assert arranged(rows, batch, seed) == found


def test_batches_hold_rows_of_similar_length_in_random_order():
    rows = [{"n": n, "length": n % 40} for n in range(80)]
    found = arranged(rows, 8, 0)
    batches = [found[i : i + 8] for i in range(0, 80, 8)]
    assert all(max(r["length"] for r in b) - min(r["length"] for r in b) <= 4 for b in batches)
    firsts = [batch[0]["length"] for batch in batches]
    assert firsts != sorted(firsts)
    assert arranged(rows, 8, 1) != found


@pytest.mark.parametrize(
    ("batch", "micro_batch", "expected"),
    [(8, 8, (8, 1)), (8, 4, (4, 2)), (2, 8, (2, 1)), (6, 4, (3, 2)), (7, 4, (1, 7))],
)
def test_a_step_is_made_of_exactly_as_many_rows_as_asked(batch: int, micro_batch: int, expected):
    told = arguments(Recipe(batch=batch, micro_batch=micro_batch), 0, Path("checkpoints"))
    found = told["per_device_train_batch_size"], told["gradient_accumulation_steps"]
    assert found == expected


def checkpoint(folder: Path, step: int, state: str = '{"global_step": 1}') -> Path:
    """What a trainer writes, `trainer_state.json` last."""
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    for name in (*CHECKPOINT_FILES, *CHECKPOINT_WEIGHTS[0]):
        (place / name).write_text("…")
    (place / "trainer_state.json").write_text(state)
    return place


def test_training_goes_on_from_the_latest_whole_checkpoint(tmp_path: Path):
    assert last_whole(tmp_path / "none") is None
    checkpoint(tmp_path, 9)
    latest = checkpoint(tmp_path, 10)
    assert last_whole(tmp_path) == str(latest)


@pytest.mark.parametrize("missing", ["trainer_state.json", "optimizer.pt", "adapter_config.json"])
def test_a_half_written_checkpoint_is_removed_and_the_one_before_is_used(
    tmp_path: Path, missing: str
):
    whole, half = checkpoint(tmp_path, 10), checkpoint(tmp_path, 20)
    (half / missing).unlink()
    assert last_whole(tmp_path) == str(whole)
    assert not half.exists()


def test_a_checkpoint_whose_state_was_cut_off_is_half_written(tmp_path: Path):
    checkpoint(tmp_path, 10, state='{"global_st')
    assert last_whole(tmp_path) is None


@pytest.mark.parametrize(
    ("limit", "knobs"),
    [(100_000, {}), (4_000_000, {"rank": 512})],
    ids=["the tokenizer of a checkpoint", "the optimizer of a checkpoint"],
)
def test_a_full_disk_is_an_os_error_and_the_same_call_goes_on(
    settings: Settings, limit: int, knobs: dict[str, Any]
):
    with files_no_larger_than(limit), pytest.raises(OSError, match=r"too large|not be written"):
        teach("sft", settings, save_every=0, **knobs)
    assert [v.name for v in Registry(settings.home).versions()] == [NAME]
    assert teach("sft", settings, save_every=0, **knobs).name == "sft-001"


def test_a_learning_rate_without_reason_is_refused_in_words(settings: Settings):
    with pytest.raises(TrainingFailed, match="smaller --learning-rate"):
        teach("sft", settings, learning_rate=1e20)
    assert [v.name for v in Registry(settings.home).versions()] == [NAME]


def test_weights_that_are_not_numbers_are_refused_in_words(tiny: Version, tmp_path: Path):
    settings = home_with(broken(tiny, tmp_path / "nan", float("nan")), tmp_path / "home")
    with pytest.raises(TrainingFailed, match="The loss is not a number any more at step 1"):
        teach("sft", settings)


def broken(version: Version, folder: Path, value: float) -> Version:
    """A copy of a version with one weight that is `value`."""
    shutil.copytree(version.path, folder)
    weights = load_file(folder / "model.safetensors")
    weights[OUT][0, 0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "card.json").unlink()
    registry = Registry(folder.parent / "elsewhere")
    return registry.register(NAME, folder, kind="folder", source="broken")


def test_a_missing_adapter_is_refused_in_words(tmp_path: Path):
    with pytest.raises(TrainingFailed, match="cannot be read"):
        check_adapter(tmp_path)


def test_an_adapter_that_is_cut_off_is_refused_in_words(adapter: Path):
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(TrainingFailed, match="cannot be read"):
        check_adapter(adapter)


def test_an_adapter_that_has_learnt_nothing_is_refused_in_words(adapter: Path):
    with pytest.raises(TrainingFailed, match=r"has learnt nothing.*more --epochs"):
        check_adapter(adapter)
    change(adapter, 0.1)
    check_adapter(adapter)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_with_values_that_are_not_numbers_is_refused_in_words(adapter: Path, value):
    change(adapter, 0.1)
    file = adapter / "adapter_model.safetensors"
    matrices = load_file(file)
    next(iter(matrices.values()))[0, 0] = value
    save_file(matrices, file)
    with pytest.raises(TrainingFailed, match="values that are not numbers"):
        check_adapter(adapter)


def test_an_adapter_too_large_to_be_added_is_refused_in_words(
    tiny: Version, adapter: Path, tmp_path: Path
):
    change(adapter, 1e25)
    with pytest.raises(TrainingFailed, match="too large to be added to its base"):
        merge(tiny.path, adapter, tmp_path / "out")


def test_merged_weights_that_answer_otherwise_are_refused(tiny: Version, tmp_path: Path):
    """A base of huge weights and an adapter that takes them away: their sum keeps no digits."""
    shutil.copytree(tiny.path, tmp_path / "huge")
    weights = load_file(tmp_path / "huge" / "model.safetensors")
    weights[OUT] = weights[OUT] * 1e9
    save_file(weights, tmp_path / "huge" / "model.safetensors", metadata={"format": "pt"})
    whole = lora(SFT(rank=32))
    get_peft_model(load(tmp_path / "huge").float(), whole).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    matrices = load_file(file)
    u, s, v = torch.linalg.svd(weights[OUT].double(), full_matrices=False)
    prefix = f"base_model.model.{OUT.removesuffix('.weight')}"
    matrices[f"{prefix}.lora_A.weight"] = v.float().contiguous()
    matrices[f"{prefix}.lora_B.weight"] = (-u * s / 2).float().contiguous()  # alpha / rank is 2
    save_file(matrices, file)
    with pytest.raises(TrainingFailed, match="merged weights answer otherwise"):
        merge(tmp_path / "huge", tmp_path / "adapter", tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_batches_mix_both_verdicts_and_a_batch_that_is_not_full_comes_last():
    rows = [{"length": 10 + n % 7, "label": n % 4 == 0, "id": n} for n in range(43)]
    found = arranged(rows, 8, 0)
    assert sorted(row["id"] for row in found) == list(range(43))
    for start in range(0, 40, 8):
        ups = sum(row["label"] for row in found[start : start + 8])
        assert 1 <= ups <= 3
    lengths = [row["length"] for row in found[:40]]
    assert max(max(lengths[i : i + 8]) - min(lengths[i : i + 8]) for i in range(0, 40, 8)) <= 3


def saved(clock: Clock, now: list[float], seconds: Sequence[float]) -> list[bool]:
    """Whether a checkpoint is asked for after each step, which ended at these seconds."""
    found = []
    for step, second in enumerate(seconds, start=1):
        now[0], control = second, TrainerControl()
        clock.on_step_end(None, TrainerState(global_step=step), control)
        found.append(control.should_save)
    return found


def test_checkpoints_come_by_the_clock(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    due = saved(Clock(30), now, (10, 29, 30, 31, 59, 61))
    assert due == [False, False, True, False, False, True]


def test_no_checkpoint_comes_between_steps_that_belong_together(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    due = saved(Clock(30, steps_at_once=4), now, (10, 31, 32, 33, 64, 65))
    assert due == [False, False, False, True, False, False]
