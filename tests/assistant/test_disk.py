"""Scratch folders: removed by whoever made them, or swept after a kill."""

import os
from pathlib import Path

from assistant.disk import scratch


def test_a_scratch_folder_goes_unless_it_was_moved_away(tmp_path: Path):
    with scratch(tmp_path) as made:
        (made / "file").touch()
    assert not list(tmp_path.iterdir())
    with scratch(tmp_path) as made:
        made.rename(tmp_path / "kept")
    assert [place.name for place in tmp_path.iterdir()] == ["kept"]


def test_what_a_killed_program_left_is_swept_and_what_a_living_one_makes_is_not(tmp_path: Path):
    gone, living = (tmp_path / f".making-{pid}-1" for pid in (2**22 + 1, os.getppid()))
    for folder in (gone, living):
        folder.mkdir()
    with scratch(tmp_path):
        assert (gone.exists(), living.exists()) == (False, True)
