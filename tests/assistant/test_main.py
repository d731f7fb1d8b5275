"""The command line: quick to answer, and of one mind with the store."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.__main__ import main
from assistant.feedback.store import FeedbackStore
from assistant.registry import Registry
from assistant.trials import Trials
from tests.assistant.feedback.said import ANN, ask


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSISTANT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ASSISTANT_DATABASE_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture
def judged(home: Path) -> Path:
    with FeedbackStore(f"sqlite:///{home / 'feedback.db'}") as store:
        talk = ask(store, "One.", "Other.")
        store.judgements.pair(ANN, "chat", *talk.answers, "first")
    return home


@pytest.fixture
def versions(home: Path, model_folder) -> Registry:
    registry = Registry(home)
    for name in ("v1", "v2"):
        registry.register(name, model_folder(name), kind="dpo", source="round")
    return registry


def test_help_answers_at_once():
    before = os.times()
    said = subprocess.run(
        [sys.executable, "-m", "assistant", "--help"], capture_output=True, text=True, check=True
    )
    taken = sum(os.times()[2:4]) - sum(before[2:4])  # of cores: tests share the machine
    assert taken < 1
    for command in ("serve", "models", "promote", "rollback", "withdraw", "doctor", "feedback"):
        assert command in said.stdout


def test_stats_for_people_and_programs(judged: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["feedback", "stats"]) == 0
    said = capsys.readouterr().out
    assert "1 pair first" in said
    assert "1 preference" in said
    assert main(["feedback", "stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["preference"]["rows"] == 1


def test_what_is_exported_is_imported_by_another_home(
    judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    file = tmp_path / "pairs.jsonl"
    assert main(["feedback", "export", str(file)]) == 0
    assert "1 rows written" in capsys.readouterr().out
    monkeypatch.setenv("ASSISTANT_HOME", str(tmp_path / "other"))
    assert main(["feedback", "import", str(file)]) == 0
    assert "1 of 1 rows imported, 0 broken" in capsys.readouterr().out
    assert main(["feedback", "import", str(file)]) == 1
    assert "imported before" in capsys.readouterr().err


def test_broken_rows_are_named_and_exit_with_1(home: Path, tmp_path: Path, capsys):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": []}\n{"prompt": "Q", "completion": "A", "label": true}\n')
    assert main(["feedback", "import", str(file)]) == 1
    said = capsys.readouterr().out
    assert "line 1: " in said
    assert "Nothing was imported" in said
    assert main(["feedback", "import", str(file), "--skip-broken"]) == 0


def test_versions_are_listed(home: Path, model_folder, capsys):
    assert main(["models"]) == 0
    assert "None yet" in capsys.readouterr().out
    registry = Registry(home)
    for name in ("v1", "v2"):
        registry.register(name, model_folder(name), kind="dpo", source="round")
    registry.promote("v2")
    main(["models"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("  v1")
    assert said[1].startswith("* v2")
    main(["models", "--json"])
    cards = json.loads(capsys.readouterr().out)
    assert [(c["name"], c["current"]) for c in cards] == [("v1", False), ("v2", True)]


def test_the_doctor_finds_what_is_wrong(home: Path, model_folder, capsys):
    version = Registry(home).register("v1", model_folder(), kind="dpo", source="round")
    assert main(["doctor"]) == 0
    healthy = capsys.readouterr().out
    assert "v1: 4 files as registered" in healthy
    assert "store: sqlite, 0 conversations" in healthy
    (version.path / "model.safetensors").unlink()
    (home / "feedback.db").write_bytes(b"not a database at all" * 100)
    main(["doctor"])
    sick = [line for line in capsys.readouterr().out.splitlines() if line.startswith("!")]
    assert any("lacks model.safetensors" in line for line in sick)
    assert any("damaged" in line for line in sick)


def test_the_doctor_names_the_trial_and_looks_on_where_one_part_is_broken(versions, home, capsys):
    trial = Trials(home).begin("v2", "v1")
    assert main(["doctor"]) == 0
    assert f"trial: v2 against v1, since {trial.began_at}" in capsys.readouterr().out
    (Trials(home).folder / f"{trial.id}.json").write_text("{half")
    (versions.folder / "v1" / "card.json").write_text("{half")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for words in ("trial-001.json is unreadable", "card.json is unreadable", "GiB free for"):
        assert words in said


def test_an_error_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("ASSISTANT_DATABASE_URL", "mysql://user:secret@host/name")
    assert main(["feedback", "stats"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "secret" not in said


def test_a_version_is_promoted_and_rolled_back(versions: Registry, capsys):
    for name in ("v1", "v2"):
        assert main(["promote", name]) == 0
        assert capsys.readouterr().out.startswith(f"{name} is current.")
        assert versions.current == versions.get(name)
    assert main(["rollback"]) == 0
    assert capsys.readouterr().out.startswith("v1 is current again.")
    assert versions.current == versions.get("v1")
    assert [entry["reason"] for entry in versions.history()] == ["by hand"] * 3
    assert main(["rollback"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "nothing to roll back to" in said.err


def test_what_cannot_be_promoted_changes_nothing(versions: Registry, capsys):
    main(["promote", "v1"])
    assert main(["promote", "v9"]) == 1
    assert "there are: v1, v2" in capsys.readouterr().err
    assert versions.current == versions.get("v1")


def test_a_trial_is_withdrawn_by_hand(versions: Registry, home: Path, capsys):
    assert main(["withdraw"]) == 1
    assert capsys.readouterr().err == "No version is on trial.\n"
    trials = Trials(home)
    trials.begin("v2", "v1")
    assert main(["withdraw"]) == 0
    assert capsys.readouterr().out.startswith("v2 is no longer on trial.")
    ended = trials.of("v2")
    assert (ended.outcome, ended.reason, trials.running()) == ("withdrawn", "by hand", None)
    assert main(["withdraw"]) == 1
