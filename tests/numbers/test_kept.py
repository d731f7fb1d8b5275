"""What was measured is measured no more, on whatever machine."""

from math import inf
from pathlib import Path

import pytest

from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.version import Version
from tests.numbers.__main__ import embedded_in
from tests.numbers.kept import Kept


def test_what_lies_on_the_shelf_is_not_measured_again(tmp_path: Path):
    done: list[int] = []

    def work(_scratch: Path) -> dict[str, int]:
        done.append(1)
        return {"share": len(done)}

    def measured(machine: str, of: str = "a", ends: float = inf, **inputs: object) -> object:
        steps = Kept(tmp_path / machine, tmp_path / "shelf", of, machine, ends)
        return steps.measure("seed-0", work, **inputs), steps.machines

    assert measured("late", ends=0.0, rows=2) == (None, [])
    assert measured("one", rows=2) == ({"share": 1}, ["one"])
    assert measured("other", rows=2) == ({"share": 1}, ["one"])
    assert measured("late", ends=0.0, rows=2) == ({"share": 1}, ["one"])
    with pytest.raises(Invalid, match="other inputs"):
        measured("one", rows=3)
    with pytest.raises(Invalid, match="other inputs"):
        measured("one", of="b", rows=2)


def test_what_another_study_keeps_lies_on_its_own_shelf(tmp_path: Path):
    steps = Kept(tmp_path / "steps/one", tmp_path / "shelf/one", "a", "here", inf)
    steps.beside("two").keep("drawn", lambda _scratch: {"answers": []})
    assert (tmp_path / "shelf/two/drawn.json").is_file()
    assert steps.machines == ["here"]


def test_the_model_is_that_of_the_first_run(embedded_version: Version):
    registry = Registry(embedded_version.path.parent.parent)
    assert embedded_in(registry).content_hash == embedded_version.content_hash
