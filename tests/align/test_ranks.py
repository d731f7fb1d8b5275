"""Several processes that share a training come to what one comes to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from align import ranks
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from tests.align.lessons import rows, write
from tests.align.rounds import ROOT

SECONDS = 300
LIKE = 2e-3  # bf16 is added up in another order
KNOBS = {"epochs": 1, "batch": 4, "micro-batch": 4, "rank": 4, "learning-rate": 1e-2, "anchor": 0.1}
LAUNCH = ["-m", "accelerate.commands.launch", "--config_file", "align/launch/processes.yaml"]


def trained(
    settings: Settings, stage: str, file: Path, name: str, *launch: str
) -> tuple[int, list[dict]]:
    """How many processes ran a stage, and its curve."""
    flags = [part for knob, value in KNOBS.items() for part in (f"--{knob}", str(value))]
    job = ["--data", str(file), "--name", name]
    run = subprocess.run(
        [sys.executable, *launch, "-m", "align", stage, *job, *flags],
        cwd=ROOT,
        env=os.environ | {"ASSISTANT_HOME": str(settings.home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    made = Registry(settings.home).get(name).path / "made"
    processes = json.loads((made / "training.json").read_text())["processes"]
    curve = (made / stage / "curve.jsonl").read_text()
    return processes, [json.loads(line) for line in curve.splitlines()]


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_two_processes_learn_what_one_learns(settings: Settings, tmp_path: Path, stage: str):
    file = write(tmp_path / "rows.jsonl", rows(stage, 16))
    one, alone = trained(settings, stage, file, "alone")
    two, together = trained(settings, stage, file, "together", *LAUNCH)
    assert (one, two) == (1, 2)
    assert len(alone) == len(together) == 4
    for before, after in zip(alone, together, strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=LIKE)
    versions = [version.name for version in Registry(settings.home).versions()]
    assert sorted(versions) == ["alone", "tiny", "together"]


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(Invalid, match="--batch 4 cannot be shared equally by 3 processes"):
        ranks.share_of(4)
    assert ranks.share_of(6) == 2
