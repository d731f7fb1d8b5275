"""Stages: one real training each, from rows to a registered version."""

import importlib
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from align.recipes import Job
from align.stages import learnt_by, make
from align.training import arranged, at_temperature
from assistant.errors import AssistantError, Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.align.conftest import END, NAME, home_with
from tests.align.lessons import (
    LESSONS,
    STAGES,
    judge,
    loaded,
    logps,
    recipe,
    rows,
    teach,
    tokens,
    tree_hash,
    weights_hash,
    write,
)

Taught = Callable[[str], Version]

SIDES = ("chosen", "rejected")
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def home(tiny: Version, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One home for this file; every stage registers its version in it."""
    return home_with(tiny, tmp_path_factory.mktemp("stages") / "home")


@pytest.fixture(scope="module")
def taught(home: Settings) -> Taught:
    """The version that a stage made; each stage is trained once."""
    return cache(lambda stage: teach(stage, home))


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def made(taught: Taught, stage: str) -> Version:
    return taught(stage)


def test_only_linear_layers_change_and_all_of_them_do(made: Version, tiny: Version):
    before, after = (load_file(v.path / "model.safetensors") for v in (tiny, made))
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in before if name.split(".")[-2] in LINEAR}
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}


def test_the_base_is_left_as_it_was(made: Version, tiny: Version, home: Settings):
    base = Registry(home.home).get(NAME)
    assert tree_hash(base.path) == tree_hash(tiny.path)
    assert made.template_hash == base.template_hash


def test_the_version_tells_what_it_was_made_from(made: Version, stage: str, home: Settings):
    registry = Registry(home.home)
    assert (made.name, made.base, made.kind) == (f"{stage}-001", NAME, stage)
    assert f"{stage} on {LESSONS} rows (12 steps" in made.source
    story = json.loads((made.path / "made" / "training.json").read_text())
    assert story["base_hash"] == registry.get(NAME).content_hash
    [told] = story["stages"]
    assert told["recipe"] == recipe(stage).as_facts()
    assert (told["stage"], told["rows"], told["seed"]) == (stage, LESSONS, 0)
    assert told["metrics"]["loss_last"] < told["metrics"]["loss_first"]
    curve = (made.path / "made" / stage / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in curve] == list(range(1, 13))


def test_nothing_of_the_work_is_left_and_nothing_is_promoted(made: Version, home: Settings):
    registry = Registry(home.home)
    assert registry.current is not None
    assert registry.current.name == NAME
    assert not list((home.home / "making").iterdir())
    assert not list(registry.folder.glob(".making-*"))
    assert not list(made.path.rglob("checkpoint*"))


def test_the_merged_weights_answer_as_the_adapter_does(made: Version, stage: str, tiny: Version):
    adapter = made.path / "made" / stage / "adapter"
    probe = torch.arange(100, 140)[None]
    with torch.inference_mode():
        base = loaded(tiny)(probe).logits
        tuned = PeftModel.from_pretrained(loaded(tiny), adapter).eval()(probe).logits
        merged = AutoModelForCausalLM.from_pretrained(made.path).float().eval()(probe).logits
    learnt = (tuned - base).abs().max()
    rounding = (merged - tuned).abs().max()  # of weights saved in bf16
    assert rounding < 0.05 * learnt


def test_the_same_seed_makes_the_same_weights_and_another_does_not(
    made: Version, stage: str, home: Settings
):
    again = teach(stage, home, name=f"{stage}-again")
    assert weights_hash(again.path) == weights_hash(made.path)
    if stage == "sft":  # one more training says it for all: the seed goes the same way
        other = teach(stage, home, seed=1, name="other")
        assert weights_hash(other.path) != weights_hash(made.path)


def test_sft_makes_answers_and_their_end_likelier(taught: Taught, tiny: Version):
    before, after = loaded(tiny), loaded(taught("sft"))
    for row in tokens(tiny, "sft"):
        start = next(i for i, label in enumerate(row["labels"]) if label != -100)
        answer = [label for label in row["labels"] if label != -100]
        assert answer[-1] == END
        old, new = (logps(m, row["input_ids"][:start], answer) for m in (before, after))
        assert new[-1] > old[-1]
        assert new.sum() > old.sum()


def test_packed_rows_teach_what_rows_of_their_own_do(home: Settings, tiny: Version):
    """One row a block, or all rows in a block: the same steps."""
    knobs = {"epochs": 4, "batch": LESSONS, "micro_batch": LESSONS}
    alone = teach("sft", home, name="sft-alone", **knobs)
    packed = teach("sft", home, name="sft-packed", packing=True, **knobs | {"longest": 4096})
    before, one, other = (loaded(v) for v in (tiny, alone, packed))
    probe = torch.arange(100, 140)[None]
    with torch.inference_mode():
        learnt = (one(probe).logits - before(probe).logits).abs().max()
        apart = (one(probe).logits - other(probe).logits).abs().max()
    assert apart < 0.1 * learnt


def test_dpo_prefers_the_better_answer_and_makes_it_likelier(taught: Taught, tiny: Version):
    before, after = loaded(tiny), loaded(taught("dpo"))
    for row in tokens(tiny, "dpo"):
        old, new = (
            [logps(m, row["prompt_ids"], row[f"{side}_ids"]).sum() for side in SIDES]
            for m in (before, after)
        )
        assert new[0] > old[0]
        assert new[0] - new[1] > old[0] - old[1]


def test_dpo_begins_without_a_preference_and_imitates_the_better_answer_a_little(
    taught: Taught, tiny: Version
):
    batch = arranged(tokens(tiny, "dpo"), recipe("dpo").batch, seed=0)[: recipe("dpo").batch]
    model = loaded(tiny)
    likelihood = torch.cat([logps(model, row["prompt_ids"], row["chosen_ids"]) for row in batch])
    story = json.loads((taught("dpo").path / "made" / "training.json").read_text())
    expected = math.log(2) - recipe("dpo").imitate * float(likelihood.mean())
    assert story["stages"][0]["metrics"]["loss_first"] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_answers_are_learnt_at_the_temperature_they_were_sampled_at(
    tiny: Version, tmp_path: Path, stage: str
):
    """The first loss tells: likelihood of good answers, beside DPO's without a preference."""
    rows = [row | {"temperature": 0.6} for row in tokens(tiny, stage)][:4]
    run = importlib.import_module(f"align.{stage}").run
    found = run(recipe(stage, epochs=1), 0, tiny.path, rows, tmp_path / "model")["loss_first"]
    model = loaded(tiny)
    at_temperature(model, 0.6)
    if stage == "dpo":
        likelihood = [logps(model, row["prompt_ids"], row["chosen_ids"]) for row in rows]
        expected = math.log(2) - recipe("dpo").imitate * float(torch.cat(likelihood).mean())
    else:
        split = [row["labels"].index(next(i for i in row["labels"] if i >= 0)) for row in rows]
        likelihood = [
            logps(model, row["input_ids"][:at], [i for i in row["labels"] if i >= 0])
            for row, at in zip(rows, split, strict=True)
        ]
        expected = -float(torch.cat(likelihood).mean())
    assert found == pytest.approx(expected, rel=2e-3)


def test_kto_does_more_of_the_good_and_less_of_the_bad(home: Settings, tiny: Version):
    longer = teach("kto", home, name="kto-longer", epochs=4, learning_rate=3e-3)
    before, after = loaded(tiny), loaded(longer)
    for row in tokens(tiny, "kto"):
        old, new = (
            logps(m, row["prompt_ids"], row["completion_ids"]).sum() for m in (before, after)
        )
        assert (new > old) == row["label"]


@pytest.mark.parametrize(("enough", "steps"), [(24, 6), (25, 24)])
def test_with_enough_answers_each_is_seen_once(home: Settings, enough: int, steps: int):
    made = teach("kto", home, name=f"kto-{enough}", epochs=4, enough=enough)
    story = json.loads((made.path / "made" / "training.json").read_text())
    assert story["stages"][0]["rows"] == 24
    assert story["stages"][0]["metrics"]["steps"] == steps


def test_a_version_learns_from_the_store_and_names_its_judgements(settings: Settings):
    judge(settings, ups=8, downs=1, corrections=1)
    made = make("sft", Job(), recipe("sft", epochs=1), settings, lambda line: None)
    registry = Registry(settings.home)
    learnt = learnt_by(made, registry)
    assert len(learnt) == 9  # eight thumbs up and the correction
    assert learnt_by(registry.get(NAME), registry) == frozenset()
    story = json.loads((made.path / "made" / "training.json").read_text())
    assert story["stages"][0]["left_out"] == {"thumb: shows no answer worth imitating": 1}


def test_a_name_that_is_taken_is_refused_before_anything_is_trained(
    settings: Settings, tmp_path: Path
):
    file = write(tmp_path / "rows.jsonl", rows("sft"))
    with pytest.raises(Invalid, match="There is a version 'tiny' already"):
        make("sft", Job(data=(str(file),), name=NAME), recipe("sft"), settings, print)
    assert not (settings.home / "making").exists()


def test_a_name_that_no_version_can_have_is_refused_before_anything_is_trained(
    settings: Settings, tmp_path: Path
):
    file = write(tmp_path / "rows.jsonl", rows("sft"))
    for name in ("My_Model", "../../away"):
        with pytest.raises(AssistantError, match="cannot name a version"):
            make("sft", Job(data=(str(file),), name=name), recipe("sft"), settings, print)
    assert not (settings.home / "making").exists()


def test_nothing_to_learn_from_is_said_with_the_reason(settings: Settings, tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", rows("sft"))
    with pytest.raises(Invalid, match=f"{LESSONS} longer than 5 tokens"):
        make("sft", Job(data=(str(file),)), recipe("sft", longest=5), settings, print)
    with pytest.raises(Invalid, match="none was given"):
        make("sft", Job(), recipe("sft"), settings, print)
    with pytest.raises(Invalid, match="--batch 0: give 1 or more"):
        make("sft", Job(data=(str(file),)), recipe("sft", batch=0), settings, print)
    assert [v.name for v in Registry(settings.home).versions()] == [NAME]
