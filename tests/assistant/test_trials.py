"""Trials: one at a time, each noted from its beginning to its end, and never changed after."""

import json
import threading
from pathlib import Path

import pytest

from assistant.errors import Invalid, ModelError
from assistant.trials import Trial, Trials
from assistant.verdict import judge


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    return Trials(tmp_path / "home")


def test_a_trial_runs_from_its_beginning_to_its_end(trials: Trials):
    assert (trials.all(), trials.running(), trials.of("v2")) == ([], None, None)
    begun = trials.begin("v2", "v1")
    assert (begun.id, begun.candidate, begun.against) == ("trial-001", "v2", "v1")
    assert (begun.outcome, begun.ended_at, begun.verdict) == (None, None, None)
    assert trials.running() == trials.of("v2") == begun
    ended = trials.end(begun, "withdrawn", "people liked it less", judge([0.0] * 20))
    assert (ended.outcome, ended.reason) == ("withdrawn", "people liked it less")
    assert ended.ended_at
    assert ended.verdict["votes"] == 20
    assert ended.verdict["decision"] == "withdraw"
    assert trials.running() is None
    assert trials.all() == [ended]


def test_only_one_trial_runs_at_a_time(trials: Trials):
    first = trials.begin("v2", "v1")
    with pytest.raises(Invalid, match="v2 is on trial already"):
        trials.begin("v3", "v1")
    assert trials.all() == [first]
    trials.end(first, "promoted", "by hand", None)
    second = trials.begin("v3", "v2")
    assert (second.id, trials.running()) == ("trial-002", second)
    assert [trial.candidate for trial in trials.all()] == ["v2", "v3"]


def test_the_same_candidate_is_put_on_trial_once(trials: Trials):
    first = trials.begin("v2", "v1")
    assert trials.begin("v2", "v1") == first
    ended = trials.end(first, "withdrawn", "by hand", None)
    assert trials.begin("v2", "v0") == ended
    assert trials.all() == [ended]


def test_a_trial_that_ended_stays_as_it_was(trials: Trials):
    begun = trials.begin("v2", "v1")
    ended = trials.end(begun, "promoted", "60 votes give it 70 %", judge([1.0] * 60))
    assert trials.end(begun, "withdrawn", "too late", None) == ended
    assert trials.of("v2") == ended


def test_of_two_who_begin_at_once_one_is_told_to_wait(trials: Trials):
    together = threading.Barrier(2)
    said: list[Trial | Invalid] = []

    def begin(candidate: str) -> None:
        together.wait()
        try:
            said.append(Trials(trials.folder.parent).begin(candidate, "v1"))
        except Invalid as error:
            said.append(error)

    threads = [threading.Thread(target=begin, args=(name,)) for name in ("v2", "v3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in said) == ["Invalid", "Trial"]
    assert [trial.outcome for trial in trials.all()] == [None]


def test_another_program_sees_the_same_trials(trials: Trials):
    begun = trials.begin("v2", "v1")
    assert Trials(trials.folder.parent).running() == begun
    assert not [file for file in trials.folder.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("text", ["{half", "[]", json.dumps({"id": "trial-001"}), ""])
def test_an_unreadable_trial_is_told_in_a_sentence(trials: Trials, text: str):
    trials.begin("v2", "v1")
    (trials.folder / "trial-001.json").write_text(text)
    for ask in (trials.running, trials.all, lambda: trials.begin("v3", "v1")):
        with pytest.raises(ModelError, match=r"trial-001\.json is unreadable .* remove it"):
            ask()


def test_a_trial_that_was_removed_leaves_its_number_unused(trials: Trials):
    for name in ("v2", "v3"):
        trials.end(trials.begin(name, "v1"), "withdrawn", "by hand", None)
    (trials.folder / "trial-001.json").unlink()
    assert trials.begin("v4", "v1").id == "trial-003"
    assert [trial.candidate for trial in trials.all()] == ["v3", "v4"]
