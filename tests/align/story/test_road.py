"""The whole road in small: every stage runs, every version is asked, both stories are told."""

from pathlib import Path

import pytest

from align.story import road, walk
from align.story.telling import LANGUAGES
from assistant.errors import Invalid
from assistant.registry import Registry

SMALL = {"ANIMALS": 24, "TAUGHT": 12, "UNKNOWN": 8, "NEVER": 4, "DOCUMENTS": 300}


@pytest.mark.long
def test_from_text_to_a_story_and_no_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(walk, name, value)
    folder, said = tmp_path / "road", []
    stories = road.run(folder, tmp_path / "story", None, 0.1, 0, said.append)
    assert [file.name for file in stories] == [f"story.{one}.md" for one in LANGUAGES]
    names = [stage.name for stage in walk.stages(0.1)]
    registry = Registry(folder / "home")
    assert {version.name for version in registry.versions()} == {*names, "base-scratch"}
    assert registry.current == registry.get("rewarded")
    for file in stories:
        text = file.read_text(encoding="utf-8")
        assert text.count("align ") >= len(names)
        assert "curves.svg" in text
        assert "{" not in text  # every number is filled in
    assert "<svg" in (tmp_path / "story" / "curves.svg").read_text()
    assert set(walk.minutes(folder / "home")) == set(names)
    before, said = stories[0].read_text(), []
    again = road.run(folder, tmp_path / "story", None, 0.1, 0, said.append)
    assert again[0].read_text() == before
    assert not any("begins" in line for line in said)
    for other in ({"seed": 1}, {"minutes": 9.0}):
        knobs = {"minutes": 0.1, "seed": 0, **other}
        with pytest.raises(Invalid, match="give another --folder"):
            road.run(folder, tmp_path / "story", None, report=said.append, **knobs)


def test_a_text_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(Invalid, match="no file"):
        road.run(tmp_path, tmp_path, tmp_path / "none.txt", 1.0, 0, print)


def test_a_text_that_is_no_text_is_named(tmp_path: Path):
    file = tmp_path / "picture.txt"
    file.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(Invalid, match=r"picture\.txt is not UTF-8 text"):
        road.run(tmp_path / "road", tmp_path / "out", file, 1.0, 0, print)
