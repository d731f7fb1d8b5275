"""What the page sees of commands that train: their folders, and the locks they hold."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from align.steps import Steps, alone
from assistant.making import makings


def test_where_nothing_is_made_there_is_nothing_to_see(tmp_path: Path):
    assert makings(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_running_command_is_seen_with_its_progress_and_its_curve(tmp_path: Path):
    seen = []

    def work(scratch: Path) -> dict[str, Any]:
        progress = {"done": 3, "total": 20, "what": "steps", "seconds_left": 90}
        (scratch / "progress.json").write_text(json.dumps(progress))
        made = scratch / "model" / "made"
        made.mkdir(parents=True)
        (made / "curve.jsonl").write_text('{"step": 1, "loss": 0.7}\n{"step": 2, "lo')
        seen.extend(makings(tmp_path))
        return {}

    with alone(tmp_path / "making" / "sft-001"):
        Steps(tmp_path / "making" / "sft-001", lambda _: None).do("sft", work)
    (made,) = seen
    assert (made.name, made.running) == ("sft-001", True)
    (step,) = made.steps
    assert (step.name, step.state) == ("sft", "running")
    assert step.progress is not None
    assert step.progress["done"] == 3
    assert made.curves == {"sft": [{"step": 1, "loss": 0.7}]}


def test_of_several_scorers_the_one_that_is_trained_is_shown(tmp_path: Path):
    for age, member in enumerate(("member-1", "member-0")):
        made = tmp_path / "making" / "reward-001" / ".reward" / member / "made"
        made.mkdir(parents=True)
        (made / "curve.jsonl").write_text(f'{{"step": {age}}}\n')
        os.utime(made / "curve.jsonl", (100 - age, 100 - age))
    assert makings(tmp_path)[0].curves == {"reward": [{"step": 0}]}


def test_an_interrupted_command_is_told_from_a_running_one(tmp_path: Path):
    steps = Steps(tmp_path / "making" / "safety-001", lambda _: None)
    steps.do("dpo", lambda _: {})
    steps.do("answers", lambda _: {})
    with pytest.raises(KeyError), alone(steps.folder):
        steps.do("halves", lambda _: {}["killed"])
    (made,) = makings(tmp_path)
    assert not made.running
    states = [(step.name, step.state) for step in made.steps]
    assert states == [("dpo", "finished"), ("answers", "finished"), ("halves", "running")]


def test_estimates_and_the_locks_of_other_folders_are_not_shown(tmp_path: Path):
    (tmp_path / "making" / ".plan-x1").mkdir(parents=True)
    with alone(tmp_path / "making" / "sft-001"):
        assert makings(tmp_path) == []
        (tmp_path / "making" / "sft-001").mkdir()
        (tmp_path / "making" / "sft-002").mkdir()
        assert [made.running for made in makings(tmp_path)] == [True, False]


def test_looking_does_not_keep_a_command_from_beginning(tmp_path: Path):
    looking = FileLock(tmp_path / "locks" / "making-sft-001.lock", thread_local=False)
    (tmp_path / "locks").mkdir()
    looking.acquire()
    threading.Timer(0.3, looking.release).start()
    with alone(tmp_path / "making" / "sft-001"):
        assert not looking.is_locked
