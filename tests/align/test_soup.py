"""Few judgements are learnt from twice, by chance otherwise each time, and the weights averaged."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from align import estimate
from align.collecting import FEW
from align.recipes import DPO, KTO, Recipe, Round
from align.round import APART
from assistant.errors import Invalid, Shortage
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.trials import Trials
from tests.align.conftest import NAME
from tests.align.lessons import files_no_larger_than, judge
from tests.align.rounds import begun, copied, killed_when, knobs, run

PAIRS = 24
STAGES = ["dpo", "kto", "dpo-2", "kto-2"]


@pytest.fixture(scope="module")
def judged(measured_home: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which enough was said; copy it."""
    settings = copied(measured_home, tmp_path_factory.mktemp("judged") / "home")
    judge(settings, pairs=PAIRS, ups=12, downs=12)
    return settings


@pytest.fixture(scope="module")
def averaged(judged: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which a round trained twice; read it only."""
    settings = copied(judged, tmp_path_factory.mktemp("averaged") / "home")
    run(settings, knobs(trainings=2))
    return settings


def weights(settings: Settings, name: str = "round-001") -> dict[str, torch.Tensor]:
    found = load_file(Registry(settings.home).get(name).path / "model.safetensors")
    return {name: weight.float() for name, weight in found.items()}


def learnt(adapter: Path) -> dict[str, torch.Tensor]:
    """What an adapter adds to each weight."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    matrices = load_file(adapter / "adapter_model.safetensors")
    return {
        name.removeprefix("base_model.model.").replace("lora_B.weight", "weight"): matrix
        @ matrices[name.replace("lora_B", "lora_A")]
        * (config["lora_alpha"] / config["r"])
        for name, matrix in matrices.items()
        if "lora_B" in name
    }


@pytest.mark.long
def test_the_weights_are_the_average_of_what_two_trainings_learnt(averaged: Settings):
    made = Registry(averaged.home).get("round-001").path / "made"
    first, second = (
        [learnt(made / stage / "adapter") for stage in trained]
        for trained in (STAGES[:2], STAGES[2:])
    )
    found, base = weights(averaged), weights(averaged, NAME)
    for name in first[0]:
        halves = [sum(stage[name] for stage in training) for training in (first, second)]
        assert not torch.allclose(*halves, atol=1e-4), name
        expected = base[name] + sum(halves) / 2
        assert torch.allclose(found[name], expected, rtol=2**-8, atol=1e-6), name
    assert all(torch.equal(found[name], base[name]) for name in base if name not in first[0])


@pytest.mark.long
def test_every_training_is_told_and_kept(averaged: Settings):
    version = Registry(averaged.home).get("round-001")
    assert version.source.startswith("average of dpo on ")
    assert [training.count("→") for training in version.source.split(" + ")] == [1, 1]
    made = version.path / "made"
    for stage in STAGES:
        assert (made / stage / "adapter" / "adapter_model.safetensors").is_file()
    story = json.loads((made / "training.json").read_text())
    assert [one["seed"] for one in story["stages"]] == [0, 0, APART, APART]
    assert version.adapter is not None
    assert version.adapter.rank == 4 * len(STAGES)
    assert not list((averaged.home / "rounds").glob("round-001/**/model.safetensors"))


def with_measures(settings: Settings, measured: Settings) -> None:
    """Where the same weights come out, nothing is measured again: no engine has to start."""
    shutil.copytree(measured.home / "measures", settings.home / "measures", dirs_exist_ok=True)


@pytest.mark.long
def test_killed_in_the_second_training_it_ends_as_if_it_had_not_been(
    judged: Settings, averaged: Settings, tmp_path: Path
):
    settings = copied(judged, tmp_path / "home")
    killed_when(settings.home / "rounds" / "round-001" / ".kto-2", settings, trainings=2)
    with_measures(settings, averaged)
    _, said = run(settings, knobs(trainings=2))
    assert any(line.startswith("dpo-2: finished before") for line in said)
    found, expected = weights(settings), weights(averaged)
    assert all(torch.allclose(found[name], expected[name], atol=2e-3) for name in expected)


@pytest.mark.long
def test_a_shortage_may_pass_and_a_kill_while_registering_loses_nothing(
    judged: Settings, averaged: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = copied(judged, tmp_path / "home")
    with_measures(settings, averaged)
    folder, enough = settings.home / "rounds" / "round-001", estimate.check

    def short(base: Path, rows: list, recipe: Recipe, out: Path) -> None:
        if ".dpo-2" in str(out):
            raise Shortage("Too little disk.")
        enough(base, rows, recipe, out)

    with monkeypatch.context() as filled:
        filled.setattr(estimate, "check", short)
        with pytest.raises(Shortage, match="round-001 then goes on; to begin anew"):
            run(settings, knobs(trainings=2))
    assert [stage for stage in STAGES if (folder / stage).is_dir()] == STAGES[:2]
    killed_when(settings.home / "versions" / "round-001", settings, trainings=2)
    outcome, said = run(settings, knobs(trainings=2))
    assert outcome["state"] == "on trial"
    assert [line.split(":")[0] for line in said if "finished before" in line] == STAGES
    assert not list((settings.home / "rounds").glob("round-001/**/model.safetensors"))


def test_a_shortage_at_the_beginning_makes_way_for_a_smaller_recipe(
    judged: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = copied(judged, tmp_path / "home")
    monkeypatch.setattr(estimate, "available_memory", lambda: 0)
    with pytest.raises(Shortage, match="of memory"):
        run(settings)
    assert begun(settings) == []


def decided(settings: Settings) -> int:
    """How many trainings a round begins with, which ends there since the disk is full."""
    with files_no_larger_than(200_000), pytest.raises(OSError, match="File too large"):
        run(settings, knobs(trainings=None))
    file = settings.home / "rounds" / "round-001" / "begun.json"
    return int(json.loads(file.read_text())["trainings"])


def test_few_rows_are_learnt_twice_and_many_once(judged: Settings, tmp_path: Path):
    assert decided(copied(judged, tmp_path / "few")) == 2
    many = copied(judged, tmp_path / "many")
    judge(many, pairs=FEW)
    assert decided(many) == 1


@pytest.mark.long
def test_a_round_of_before_there_were_several_trainings_is_known_again(
    averaged: Settings, tmp_path: Path
):
    settings = copied(averaged, tmp_path / "home")
    trials = Trials(settings.home)
    trials.end(trials.running(), "withdrawn", "by hand", None)
    file = settings.home / "rounds" / "round-001" / "begun.json"
    told = json.loads(file.read_text())
    del told["trainings"]
    file.write_text(json.dumps(told))
    with pytest.raises(Invalid, match="Nothing was said since round-001"):
        run(settings, knobs(trainings=1))


def test_what_has_no_adapter_is_not_averaged(judged: Settings, tmp_path: Path):
    whole = Round(trainings=2, dpo=DPO(rank=0), kto=KTO(rank=0))
    settings = copied(judged, tmp_path / "home")
    with pytest.raises(Invalid, match="--trainings 2: give 1 or more; several need adapters"):
        run(settings, whole)
    with pytest.raises(Invalid, match="--trainings 0"):
        run(settings, knobs(trainings=0))
