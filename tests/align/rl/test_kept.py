"""What is kept of phases survives a kill, and nothing of a phase is told twice."""

import json
from collections import Counter
from pathlib import Path

import pytest

from align.rl.kept import MOST, Kept
from tests.align.lessons import files_no_larger_than


def test_phases_that_are_answered_again_are_told_once(tmp_path: Path):
    kept = Kept(tmp_path)
    for step in (0, 8):
        kept.note([{"answer": "a"}] * 20, {"own": Counter({"late": 2, "none": 1})}, step)
    again = Kept(tmp_path)
    again.forget_from(8)
    assert again.without_reward() == {"own": {"late": 2, "none": 1}}
    again.note([{"answer": "b"}], {"own": Counter({"late": 1})}, 8)
    assert again.without_reward() == {"own": {"late": 3, "none": 1}}
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == MOST + 1


def test_a_line_that_a_kill_cut_off_is_forgotten(tmp_path: Path):
    kept = Kept(tmp_path)
    kept.note([], {"own": Counter({"late": 2})}, 0)
    with (tmp_path / "without_reward.jsonl").open("a") as file:
        file.write('{"step": 8, "rewar')
    kept.forget_from(8)
    kept.note([], {"own": Counter({"late": 1})}, 8)
    assert kept.without_reward() == {"own": {"late": 3}}


def test_a_full_disk_costs_the_phase_that_met_it_alone(tmp_path: Path):
    kept, late = Kept(tmp_path), {"own": Counter({"late": 2})}
    kept.note([{"answer": "a" * 100}], late, 0)
    with files_no_larger_than(180), pytest.raises(OSError, match="too large"):
        kept.note([{"answer": "b" * 100}], late, 8)
    kept.forget_from(8)
    kept.note([{"answer": "c" * 100}], late, 8)
    told = [json.loads(line)["answer"][0] for line in (tmp_path / "samples.jsonl").open()]
    assert told == ["a", "c"]
    assert kept.without_reward() == {"own": {"late": 4}}


def test_nothing_was_kept_before_the_first_phase(tmp_path: Path):
    kept = Kept(tmp_path)
    kept.forget_from(0)
    assert kept.without_reward() == {}
