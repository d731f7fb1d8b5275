"""Steps: what is finished is kept, what was killed goes on, what changed is noticed."""

import json
from pathlib import Path

import pytest

from align.steps import Steps, alone
from assistant.errors import Invalid


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def steps(tmp_path: Path, said: list[str]) -> Steps:
    return Steps(tmp_path / "round", said.append)


class Killed(BaseException):
    """The end of a process, as far as a step can see it."""


def killed(scratch: Path) -> dict:
    (scratch / "half").write_text("done")
    raise Killed


def finished(scratch: Path) -> dict:
    return {"found": sorted(f.name for f in scratch.iterdir())}


def kill(steps: Steps, **inputs) -> None:
    with pytest.raises(Killed):
        steps.do("train", killed, **inputs)


def test_a_finished_step_is_read_and_never_done_again(steps: Steps, said: list[str]):
    done = []

    def work(scratch: Path) -> dict:
        done.append(scratch)
        (scratch / "weights").write_text("made")
        return {"loss": 0.5}

    first = steps.do("train", work, rows="abc", seed=1)
    assert steps.do("train", work, rows="abc", seed=1) == first == {"loss": 0.5}
    assert len(done) == 1
    assert (steps.folder / "train" / "weights").read_text() == "made"
    assert not (steps.folder / ".train").exists()
    assert [line.split(" in ")[0] for line in said] == [
        "train: begins",
        "train: finished",
        "train: finished before,",
    ]


def test_another_process_reads_what_was_finished(steps: Steps, tmp_path: Path):
    steps.do("train", lambda _: {"loss": 0.5}, seed=1)
    later = Steps(tmp_path / "round", print)
    assert later.do("train", killed, seed=1) == {"loss": 0.5}


def test_the_note_tells_inputs_time_and_memory(steps: Steps):
    steps.do("train", lambda _: {}, seed=1, recipe={"rank": 4})
    note = json.loads((steps.folder / "train" / "step.json").read_text())
    assert note["inputs"] == {"seed": 1, "recipe": {"rank": 4}}
    assert note["seconds"] >= 0
    assert 0 < note["peak_gib"] < 100
    assert note["finished_at"].endswith("Z")


def test_a_finished_step_of_other_inputs_is_refused_and_kept(steps: Steps):
    steps.do("train", lambda _: {"loss": 0.5}, seed=1)
    with pytest.raises(Invalid, match="was made from other inputs; remove"):
        steps.do("train", lambda _: {"loss": 0.1}, seed=2)
    assert steps.do("train", killed, seed=1) == {"loss": 0.5}


def test_what_a_killed_run_left_is_there_for_the_next_one(steps: Steps):
    kill(steps, seed=1)
    assert steps.do("train", finished, seed=1) == {"found": ["half", "inputs.json"]}


def test_what_a_killed_run_left_is_removed_if_the_inputs_changed(steps: Steps):
    kill(steps, seed=1)
    assert steps.do("train", finished, seed=2) == {"found": ["inputs.json"]}


def test_a_scratch_folder_of_unknown_inputs_is_removed(steps: Steps):
    kill(steps, seed=1)
    (steps.folder / ".train" / "inputs.json").unlink()
    assert steps.do("train", finished, seed=1) == {"found": ["inputs.json"]}


def test_nobody_else_works_in_a_folder_meanwhile(tmp_path: Path):
    with alone(tmp_path / "making" / "dpo-001"):
        again = alone(tmp_path / "making" / "dpo-001")
        with pytest.raises(Invalid, match="dpo-001 is being made by another command"), again:
            pass
        with alone(tmp_path / "making" / "dpo-002"):
            pass
    with alone(tmp_path / "making" / "dpo-001"):
        pass


def test_a_step_that_failed_is_not_finished(steps: Steps):
    kill(steps)
    assert not (steps.folder / "train").exists()
