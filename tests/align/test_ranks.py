"""Several processes that share a training come to what one comes to."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from align import ranks
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.align.conftest import home_with
from tests.align.lessons import rows, write
from tests.align.rounds import ROOT

SECONDS = 300
LIKE = 2e-3  # bf16 is added up in another order
KNOBS = {"epochs": 1, "batch": 4, "micro-batch": 4, "rank": 4, "learning-rate": 1e-2, "anchor": 0.1}
KNOBS["save-every"] = 0  # after every step
LAUNCHES = ROOT / "align" / "launch"
LAUNCH = ["-m", "accelerate.commands.launch", "--config_file", "align/launch/processes.yaml"]


def trained(
    settings: Settings,
    stage: str,
    file: Path,
    name: str,
    launch: Sequence[str] = (),
    program: str = "align",
    **environment: str,
) -> tuple[int, list[dict], str]:
    """How many processes ran a stage, its curve, and what was said."""
    flags = [part for knob, value in KNOBS.items() for part in (f"--{knob}", str(value))]
    job = ["--data", str(file), "--name", name]
    run = subprocess.run(
        [sys.executable, *launch, "-m", program, stage, *job, *flags],
        cwd=ROOT,
        env=os.environ
        | {"ASSISTANT_HOME": str(settings.home), "OMP_NUM_THREADS": "1"}
        | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    made = Registry(settings.home).get(name).path / "made"
    processes = json.loads((made / "training.json").read_text())["processes"]
    curve = (made / stage / "curve.jsonl").read_text()
    return processes, [json.loads(line) for line in curve.splitlines()], run.stdout


Alone = Callable[[str], tuple[Settings, Path, list[dict]]]


@pytest.fixture(scope="module")
def alone(tiny: Version, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """By stage a home in which one process trained, the rows, and the curve."""

    @cache
    def train(stage: str) -> tuple[Settings, Path, list[dict]]:
        folder = tmp_path_factory.mktemp(stage)
        settings = home_with(tiny, folder / "home")
        file = write(folder / "rows.jsonl", rows(stage, 16))
        number, curve, _ = trained(settings, stage, file, "alone")
        assert number == 1
        return settings, file, curve

    return train


@pytest.mark.long
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_two_processes_learn_what_one_learns(alone: Alone, stage: str):
    settings, file, expected = alone(stage)
    two, together, _ = trained(settings, stage, file, "together", LAUNCH)
    assert two == 2
    assert len(expected) == len(together) == 4
    for before, after in zip(expected, together, strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=LIKE)
    versions = [version.name for version in Registry(settings.home).versions()]
    assert sorted(versions) == ["alone", "tiny", "together"]


def as_environment(file: Path) -> dict[str, str]:
    """What accelerate's launcher makes of a configuration's part on FSDP."""
    config = yaml.safe_load(file.read_text(encoding="utf-8"))["fsdp_config"]
    return {name.upper(): str(value) for name, value in config.items()}


@pytest.mark.long
def test_weights_that_are_shared_learn_the_same(alone: Alone):
    settings, file, expected = alone("sft")
    shared = as_environment(LAUNCHES / "fsdp.yaml") | {"ACCELERATE_USE_FSDP": "true"}
    two, together, said = trained(
        *(settings, "sft", file, "shared", LAUNCH, "tests.align.fsdp_on_cpu"),
        LD_PRELOAD="",  # or it would start itself again
        **shared,
    )
    assert two == 2
    assert said.count("shared 4 modules") == 2, said  # embeddings, two layers, and the rest
    for before, after in zip(expected, together, strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=LIKE)


@pytest.mark.parametrize("file", sorted(LAUNCHES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_launcher_understands_every_configuration(file: Path):
    assert load_config_from_file(str(file)).num_processes == 2


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(Invalid, match="--batch 4 cannot be shared equally by 3 processes"):
        ranks.share_of(4)
    assert ranks.share_of(6) == 2
