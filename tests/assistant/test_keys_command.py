"""`assistant keys`: made, listed, counted and ended from the command line."""

import json
import sqlite3
from pathlib import Path

import pytest

from assistant.__main__ import main

LIMITS = ("--limit", "requests-per-minute=60", "--limit", "concurrent=2")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSISTANT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ASSISTANT_DATABASE_URL", raising=False)
    return tmp_path / "home"


def told(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert main(["keys", *command]) == 0
    return capsys.readouterr().out


def test_a_key_is_shown_once_and_kept_as_a_hash(home: Path, capsys):
    said = told(capsys, "create", "ann")
    secret = next(word for word in said.split() if word.startswith("sk-assistant-"))
    assert secret not in told(capsys, "list")
    assert secret.encode() not in (home / "feedback.db").read_bytes()


def test_what_a_key_may_is_listed(home: Path, capsys):
    scopes = ("--scope", "chat", "--scope", "admin", "--versions", "round-*", "--days", "2")
    told(capsys, "create", "bob", *scopes, *LIMITS, "--may-train")
    line = told(capsys, "list").splitlines()[0]
    for word in ("bob", "chat, admin", "60 requests per minute", "2 concurrent", "round-*", "UTC"):
        assert word in line
    (key,) = json.loads(told(capsys, "list", "--json"))
    assert (key["name"], key["trains"], key["limits"]["concurrent"]) == ("bob", True, 2)
    said = told(capsys, "revoke", key["id"])
    assert "opens nothing any more" in said
    assert "revoked" in told(capsys, "list")


@pytest.mark.parametrize("limit", ["tokens=3", "concurrent", "concurrent=-1", "concurrent=two"])
def test_what_is_no_limit_is_said_with_those_there_are(home: Path, capsys, limit: str):
    assert main(["keys", "create", "eve", "--limit", limit]) == 1
    assert f"{limit!r} is no limit; write one of requests-per-minute" in capsys.readouterr().err


def test_usage_is_told_by_name_and_day(home: Path, capsys):
    told(capsys, "create", "ann")
    (key,) = json.loads(told(capsys, "list", "--json"))
    with sqlite3.connect(home / "feedback.db") as database:
        columns = "day, who, version, requests, unfinished, prompt_tokens, completion_tokens"
        day = "date('now')"
        database.execute(
            f"insert into usage ({columns}) values ({day}, ?, 'v1', 3, 1, 20, 40)", [key["id"]]
        )
    line = told(capsys, "usage").splitlines()[1]
    assert line.split() == [line.split()[0], "ann", "v1", "3", "1", "20", "+", "40"]
    assert json.loads(told(capsys, "usage", "--json"))[0]["requests"] == 3
    assert json.loads(told(capsys, "usage", "--days", "0", "--json")) == []
