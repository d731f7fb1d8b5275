"""`align …` as it is typed: help comes at once, and what is wrong is one sentence."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assistant.registry import Registry
from assistant.settings import Settings
from tests.align.conftest import NAME
from tests.align.lessons import rows, write
from tests.align.rounds import ROOT
from tests.test_architecture import HEAVY

PARSER_ALONE = "import tyro, typeguard; tyro.cli(int, args=['--help'])"
MISTAKE_SECONDS = 5  # less than importing what trains takes
TIMES_AS_LONG = 3  # at most, as a program that does nothing but show help
COMMANDS = ("sft", "dpo", "kto", "rlhf", "round")


def align(
    *arguments: str, home: Path | None = None, largest_file: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    ours = {"ASSISTANT_HOME": str(home or "/nonexistent"), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-m", "align", *arguments],
        cwd=ROOT,
        env=os.environ | ours,
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )


def in_one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith(".")
    return last


@pytest.mark.parametrize("arguments", [(), ("round",)], ids=str)
def test_help_comes_at_once(arguments: tuple[str, ...]):
    ours, least = [], []
    for _ in range(3):
        before = processor_seconds()
        done = align(*arguments, "--help")
        shown = processor_seconds()
        subprocess.run([sys.executable, "-c", PARSER_ALONE], capture_output=True, check=True)
        ours.append(shown - before)
        least.append(processor_seconds() - shown)
        assert done.returncode == 0
        assert "usage: align" in done.stdout
    assert min(ours) < TIMES_AS_LONG * min(least)


def processor_seconds() -> float:
    """What the processes that this one started, and that ended, took."""
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken.ru_utime + taken.ru_stime


def test_help_names_every_command_and_every_knob():
    said = align("--help").stdout
    assert all(command in said for command in COMMANDS)
    said = align("dpo", "--help").stdout
    for knob in ("--base", "--data", "--name", "--seed", "--epochs", "--beta", "--imitate"):
        assert knob in said
    assert "--dpo.beta" in align("round", "--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy(command: str):
    code = (
        "import sys\nfrom align.__main__ import main\n"
        f"try:\n    main([{command!r}, '--help'])\nexcept SystemExit:\n    pass\n"
        f"print(sorted(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_an_unknown_knob_is_refused_before_anything_is_loaded():
    began = time.monotonic()
    done = align("dpo", "--learning-rat", "1")
    assert done.returncode == 2
    assert "--learning-rat" in done.stderr
    assert time.monotonic() - began < MISTAKE_SECONDS


def test_a_base_that_is_nowhere_is_one_sentence(settings: Settings):
    said = in_one_sentence(align("sft", "--base", "nothing", home=settings.home))
    assert said.startswith("'nothing' is neither a version (there are: tiny)")


@pytest.mark.long
def test_a_full_disk_is_one_sentence(settings: Settings, tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", rows("sft"))
    done = align("sft", "--data", str(file), home=settings.home, largest_file=500_000)
    assert in_one_sentence(done).startswith("Stopped (File too large): free some space")
    assert "sft: begins" in done.stdout
    assert [version.name for version in Registry(settings.home).versions()] == [NAME]
