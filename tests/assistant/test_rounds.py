"""Rounds as the page sees them: out of the files that a round writes, and by its lock."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assistant.making import Step
from assistant.registry import Registry
from assistant.rounds import Rounds
from assistant.settings import Settings
from tests.serving import eventually

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
WAITING = [("sft", "waiting"), ("dpo", "waiting")]


@pytest.fixture
def rounds(tmp_path: Path) -> Rounds:
    return Rounds(Settings(home=tmp_path / "home"))


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def begin(
    rounds: Rounds, name: str = "round-001", stages: tuple[str, ...] = ("sft", "dpo")
) -> Path:
    folder = rounds.folder / name
    write(folder / "begun.json", {"base": "v1", "recipes": {stage: {} for stage in stages}})
    write(folder / "data.json", {"given": {"pairs": 30}})
    return folder


def finish(folder: Path, step: str, seconds: float) -> None:
    write(folder / step / "step.json", {"seconds": seconds, "result": {}})


def states(rounds: Rounds) -> list[tuple[str, str]]:
    latest = rounds.latest()
    assert latest is not None
    return [(step.name, step.state) for step in latest.steps]


def test_where_no_round_was_there_is_nothing_to_see(rounds: Rounds):
    assert rounds.latest() is None
    assert not rounds.running()
    assert rounds.last_words() == ""
    assert rounds.ended()
    assert not rounds.refused()
    assert not rounds.folder.exists()


def test_a_round_just_begun_waits_for_its_stages_and_what_follows(rounds: Rounds):
    begin(rounds)
    assert states(rounds) == [
        *WAITING,
        *(("register", "waiting"), ("check", "waiting"), ("trial", "waiting")),
    ]
    latest = rounds.latest()
    assert (latest.name, latest.outcome, latest.curves) == ("round-001", None, {})
    assert latest.data == {"given": {"pairs": 30}}


def test_only_the_stages_of_the_round_are_steps_of_it(rounds: Rounds):
    begin(rounds, stages=("kto",))
    assert [name for name, _ in states(rounds)] == ["kto", "register", "check", "trial"]


def test_every_training_that_is_averaged_is_shown(rounds: Rounds):
    folder = begin(rounds)
    write(folder / "begun.json", {"recipes": {"dpo": {}, "kto": {}}, "trainings": 2})
    write(folder / ".kto-2" / "model" / "made" / "curve.jsonl", '{"step": 1, "loss": 0.7}\n')
    finish(folder, "dpo-2", 4)
    assert states(rounds)[:5] == [
        *(("dpo", "waiting"), ("kto", "waiting"), ("dpo-2", "finished"), ("kto-2", "running")),
        ("register", "waiting"),
    ]
    assert list(rounds.latest().curves) == ["kto-2"]


def test_a_step_is_finished_or_running_or_waiting(rounds: Rounds):
    folder = begin(rounds)
    finish(folder, "sft", 61.5)
    progress = {"done": 3, "total": 20, "what": "steps", "seconds_left": 90}
    write(folder / ".dpo" / "progress.json", progress)
    sft, dpo, register, *_ = rounds.latest().steps
    assert sft == Step("sft", "finished", 61.5)
    assert dpo == Step("dpo", "running", progress=progress)
    assert register == Step("register", "waiting")


@pytest.mark.parametrize("text", [None, "", '{"done": 3, "to'])
def test_a_running_step_without_readable_progress_is_running_all_the_same(rounds: Rounds, text):
    folder = begin(rounds)
    (folder / ".sft").mkdir()
    if text is not None:
        write(folder / ".sft" / "progress.json", text)
    assert rounds.latest().steps[0] == Step("sft", "running")


def test_curves_are_read_while_a_stage_trains_and_after(rounds: Rounds):
    folder = begin(rounds)
    points = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.6}]
    lines = "".join(json.dumps(point) + "\n" for point in points)
    finish(folder, "sft", 5)
    write(folder / "sft" / "model" / "made" / "curve.jsonl", lines)
    half = json.dumps({"step": 3, "loss": 0.5})[:9]
    write(folder / ".dpo" / "model" / "made" / "curve.jsonl", lines + half)
    assert rounds.latest().curves == {"sft": points, "dpo": points}


def test_a_finished_round_shows_its_outcome(rounds: Rounds):
    folder = begin(rounds)
    for step in ("sft", "dpo", "register", "check", "trial"):
        finish(folder, step, 1)
    assert rounds.latest().outcome is None
    outcome = {"candidate": "round-001", "state": "on trial", "reasons": [], "checks": []}
    write(folder / "outcome.json", outcome)
    assert rounds.latest().outcome == outcome
    assert {state for _, state in states(rounds)} == {"finished"}


def test_the_newest_round_is_shown_and_one_being_prepared_is_not(rounds: Rounds):
    begin(rounds, ".round-001")
    assert rounds.latest() is None
    for name in ("round-001", "round-002", "round-010"):
        begin(rounds, name)
    assert rounds.latest().name == "round-010"


def test_a_round_runs_while_somebody_holds_its_lock(rounds: Rounds):
    begin(rounds)
    assert not rounds.running()
    command = [sys.executable, "-c", HOLD, str(rounds.folder / "lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert rounds.running()
        assert rounds.running()  # looking does not take it
    finally:
        holder.kill()
        holder.communicate()
    assert not rounds.running()


def test_the_last_words_of_a_round_are_its_last_line(rounds: Rounds):
    write(rounds.log, "sft: begins\nsft: finished in 3 s\n\n")
    assert rounds.last_words() == "sft: finished in 3 s"
    rounds.log.write_bytes(b"\xff\xfe half a character\n")
    assert "half a character" in rounds.last_words()
    write(rounds.log, "\n")
    assert rounds.last_words() == ""


def test_a_round_is_started_for_this_home_and_store_and_says_why_it_is_refused(
    registry: Registry, model_folder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASSISTANT_HOME", "elsewhere")
    monkeypatch.setenv("ASSISTANT_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/other")
    registry.register("v1", model_folder(), kind="folder", source="test")
    registry.promote("v1")
    home = registry.folder.parent
    rounds = Rounds(Settings(home=home, database_url="mysql://user:secret@host/name"))
    rounds.start()
    assert not rounds.ended()
    assert not rounds.refused()
    assert eventually(rounds.ended, 60)
    assert rounds.refused()
    assert "Feedback cannot be stored in mysql" in rounds.last_words()
    assert not rounds.running()


def test_stopping_ends_the_round_that_was_started_here(rounds: Rounds):
    rounds.stop()  # none was
    rounds.start()
    rounds.stop()
    assert rounds.ended()
    assert not rounds.running()
