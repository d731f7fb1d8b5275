"""The ledger: sums per day, who and version, from any number of programs."""

import pytest

from assistant.access.accounts import Accounts
from assistant.access.ledger import Used, estimated
from assistant.errors import StoreError


def test_what_was_used_adds_up_over_programs(accounts: Accounts, url: str):
    with Accounts(url) as other:
        for ledger in (accounts.ledger, other.ledger):
            ledger.add("k1", "v1", Used(5, 3, finished=True))
            ledger.add("k1", "v1", Used(5, 1))
            ledger.add("k2", "v1", Used(1, 1, finished=True))
            ledger.write()
    rows = accounts.ledger.read()
    numbers = ("requests", "unfinished", "prompt_tokens", "completion_tokens")
    assert [(row["who"], *(row[n] for n in numbers)) for row in rows] == [
        ("k1", 4, 2, 20, 8),
        ("k2", 2, 0, 2, 2),
    ]


def test_what_cannot_be_written_is_written_later(accounts: Accounts, monkeypatch):
    accounts.ledger.add("k1", "v1", Used(5, 3))
    with monkeypatch.context() as broken:
        broken.setattr("assistant.access.ledger._adding", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            accounts.ledger.write()
    accounts.ledger.add("k1", "v1", Used(5, 3))
    accounts.ledger.write()
    assert [row["requests"] for row in accounts.ledger.read()] == [2]


def test_pieces_count_until_the_engine_says():
    used = Used()
    for _ in range(3):
        used.hear({"choices": [{"delta": {"content": "x"}}]})
    assert used.tokens == 3
    used.hear({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 12}})
    assert (used.prompt_tokens, used.completion_tokens) == (7, 12)
    assert estimated(["x" * 40, None]) == 11


def test_store_errors_are_sentences(tmp_path):
    (tmp_path / "feedback.db").write_text("not a database at all, and long enough to be read")
    with pytest.raises(StoreError, match="damaged"):
        Accounts(f"sqlite:///{tmp_path / 'feedback.db'}")
