"""What is kept of phases survives a kill, and nothing of a phase is told twice."""

from collections import Counter
from pathlib import Path

from align.rl.kept import MOST, Kept


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


def test_nothing_was_kept_before_the_first_phase(tmp_path: Path):
    kept = Kept(tmp_path)
    kept.forget_from(0)
    assert kept.without_reward() == {}
