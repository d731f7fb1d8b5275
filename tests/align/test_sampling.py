"""Sampling: answers come back in the order of their questions, and an odd engine is given up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from align import sampling
from align.rl.drawing import Engine
from align.sampling import FAILURES, sample
from assistant import engine_process
from assistant.errors import EngineError
from assistant.machine import Machine
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


class Busy:
    """Counts how many answers it is asked for at once."""

    def __init__(self) -> None:
        self.running = self.most = 0

    @asynccontextmanager
    async def post(self, path: str, body: dict[str, Any], _: object) -> AsyncIterator[Any]:
        asked = body.get("n", 1)
        self.running += asked
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= asked
        choice = {"finish_reason": "stop", "message": {"content": "two"}, "token_ids": [2]}
        choices = [
            {**choice, "index": n, "logprobs": {"token_logprobs": [-1.0]}} for n in range(asked)
        ]
        told = {"choices": choices, "usage": {"completion_tokens": 1}}

        async def json() -> dict[str, Any]:
            return told

        yield SimpleNamespace(json=json)


def test_no_more_is_asked_at_once_than_ends_in_time(
    tiny: Version, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    busy = Busy()

    @asynccontextmanager
    async def engine_of(*_: object) -> AsyncIterator[Busy]:
        yield busy

    monkeypatch.setattr(sampling, "PLACES", 8)
    monkeypatch.setattr(sampling, "engine_of", engine_of)
    assert len(sample(tiny, ["One?"] * 30, SAMPLING, settings.home, settings.home)) == 30
    assert busy.most == 8

    busy.most = 0
    drawing = Engine(tiny, settings.home / "engine", settings.home)
    drawing._engine = busy  # type: ignore[assignment]
    drawn = drawing.draw([[1, 2]] * 12, 3, 5, 0)
    assert [len(answers) for answers in drawn] == [3] * 12
    assert busy.most == 6


def test_a_gpu_is_asked_for_more_at_once():
    here = Machine.this()
    assert sampling.places_of(replace(here, gpu=True)) > sampling.places_of(
        replace(here, gpu=False)
    )
