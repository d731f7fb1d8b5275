"""Curves are drawn: the same numbers the same way, and nothing where there are none."""

import json
from pathlib import Path

from align.picture import draw_curve, smoothed


def curve(file: Path, *entries: dict) -> Path:
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return file


def test_what_a_curve_has_is_drawn(tmp_path: Path):
    entries = [{"step": n, "loss": 3 - n / 30, "rewards/margins": n, "lr": 1} for n in range(40)]
    file = curve(tmp_path / "curve.jsonl", *entries)
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    draw_curve(file, first)
    draw_curve(file, second)
    drawn = first.read_text()
    assert "<svg" in drawn
    assert "loss" in drawn
    assert "rewards/margins" in drawn
    assert ">lr<" not in drawn
    assert drawn == second.read_text()


def test_nothing_is_drawn_of_nothing(tmp_path: Path):
    draw_curve(curve(tmp_path / "curve.jsonl"), tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()


def test_a_smoothed_line_begins_where_the_points_do():
    assert smoothed([2.0, 2.0, 2.0]) == [2.0, 2.0, 2.0]
    assert smoothed([4.0])[0] == 4.0
    assert 1 < smoothed([1.0] * 5 + [2.0])[-1] < 2
