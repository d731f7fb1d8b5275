"""Sampling: answers come back in the order of their questions, and an odd engine is given up."""

import json
from pathlib import Path

import psutil
import pytest

from align.sampling import FAILURES, sample
from assistant import engine_process
from assistant.errors import EngineError
from assistant.settings import Settings
from assistant.version import Version

SAMPLING = {"max_tokens": 5}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "CHILD", "tests.engine_child")


def children_of(folder: Path) -> list[psutil.Process]:
    """Engines that serve a model in a folder."""
    found = psutil.process_iter(["cmdline"])
    return [p for p in found if any(str(folder) in part for part in p.info["cmdline"] or ())]


@pytest.mark.usefixtures("scripted")
def test_each_question_has_its_answer_and_no_engine_is_left(tiny: Version, settings: Settings):
    found = sample(tiny, ["One?", "Two?", "Three?"], SAMPLING, settings.home, settings.home)
    assert [(a.text, a.tokens, a.stopped) for a in found] == [("one two three", 3, True)] * 3
    assert json.loads((settings.home / "progress.json").read_text())["done"] == 3
    assert children_of(tiny.path) == []


@pytest.mark.usefixtures("scripted")
def test_a_version_that_cannot_be_served_is_given_up_in_words(tiny: Version, settings: Settings):
    (settings.home / "versions" / "tiny" / "die-at-start").touch()
    broken = Version(**{**vars(tiny), "folder": str(settings.home / "versions" / "tiny")})
    with pytest.raises(EngineError, match=r"tiny could not be measured.*the weights are odd"):
        sample(broken, ["One?"], SAMPLING, settings.home, settings.home)
    log = (settings.home / "engine" / "measuring" / "tiny.log").read_text()
    assert log.count("--- engine of tiny") == FAILURES
    assert children_of(broken.path) == []


@pytest.mark.usefixtures("scripted")
def test_what_the_engine_says_of_a_question_is_passed_on(tiny: Version, settings: Settings):
    with pytest.raises(EngineError, match="maximum context length"):
        sample(tiny, ["One?", "refuse"], SAMPLING, settings.home, settings.home)
    assert children_of(tiny.path) == []
