"""Rounds on the tiny model: whole ones here, and ones in a process that can be killed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from align import round as align_round
from align.recipes import DPO, KTO, Round
from assistant.registry import Registry
from assistant.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
GENTLE = {"epochs": 1, "learning_rate": 1e-3, "batch": 2, "micro_batch": 2, "rank": 4}
GENTLE["save_every"] = 0  # after every step
STEEP = GENTLE | {"learning_rate": 1e-2, "anchor": 0.0}
SECONDS = 300


def knobs(recipe: dict[str, Any] = GENTLE, **more: Any) -> Round:
    return Round(dpo=DPO(**recipe), kto=KTO(**recipe), **{"trainings": 1} | more)


def flags(recipe: dict[str, Any] = GENTLE, trainings: int = 1) -> list[str]:
    """The same knobs on the command line."""
    return ["--trainings", str(trainings)] + [
        part
        for stage in ("dpo", "kto")
        for name, value in recipe.items()
        for part in (f"--{stage}.{name.replace('_', '-')}", str(value))
    ]


def run(settings: Settings, asked: Round | None = None) -> tuple[dict[str, Any], list[str]]:
    """A round's outcome, and what it reported."""
    said: list[str] = []
    return align_round.run(asked or knobs(), settings, said.append), said


def copied(settings: Settings, home: Path) -> Settings:
    """Another home with everything that is in this one."""
    shutil.copytree(settings.home, home, symlinks=True)
    return Settings(home=home)


def begun(settings: Settings) -> list[str]:
    """The rounds of a home, and what is left of others."""
    rounds = settings.home / "rounds"
    return sorted(p.name for p in rounds.iterdir() if p.is_dir()) if rounds.is_dir() else []


def versions(settings: Settings) -> list[str]:
    return [version.name for version in Registry(settings.home).versions()]


def killed_when(appears: Path, settings: Settings, trainings: int = 1) -> str:
    """Run `align round`, kill it as soon as a file or folder is there; what it said until then."""
    return aligned(["round", *flags(trainings=trainings)], settings, appears)


def aligned(arguments: list[str], settings: Settings, until: Path | None = None) -> str:
    """Run `align`, to its end or until something appears; then it is killed. What it said."""
    log = settings.home / "log.txt"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "align", *arguments],
            cwd=ROOT,
            env=os.environ | {"ASSISTANT_HOME": str(settings.home), "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=said,
        )
    gives_up = time.monotonic() + SECONDS
    try:
        while process.poll() is None if until is None else not until.exists():
            assert until is None or process.poll() is None, log.read_text()
            assert time.monotonic() < gives_up, log.read_text()
            time.sleep(0.001)
        assert until is not None or process.returncode == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    return log.read_text()
