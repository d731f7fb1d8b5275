"""Keys: shown once, known by their hash, ended by time or by hand."""

import time

import pytest
import sqlalchemy as sa

from assistant.access.accounts import Accounts
from assistant.access.keys import Limits
from assistant.access.schema import api_key
from assistant.errors import Invalid, NotFound
from assistant.feedback.database import open_database

BOTH = ("chat", "feedback")


def test_a_key_is_known_by_its_secret_and_only_its_hash_is_kept(accounts: Accounts, url: str):
    made, secret = accounts.keys.create("Ann", BOTH, ("assistant",), Limits(concurrent=2), True, 1)
    assert secret.startswith(f"sk-assistant-{made.id}.")
    assert accounts.keys.of(secret) == made == accounts.keys.get(made.id)
    assert (made.state, made.trains, made.limits.concurrent) == ("usable", True, 2)
    engine = open_database(url)
    with engine.connect() as connection:
        kept = str(connection.execute(sa.select(api_key)).all())
    engine.dispose()
    assert secret.split(".")[1] not in kept


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + "x", lambda s: s.split(".")[0]])
def test_what_is_not_quite_a_key_is_none(accounts: Accounts, change):
    _, secret = accounts.keys.create("Ann", BOTH)
    assert accounts.keys.of(change(secret)) is None


@pytest.mark.parametrize(
    "secret", ["", "sk-assistant-", "sk-assistant-' OR 1=1 --.x", "sk-other.x", "." * 9, "\0.\0"]
)
def test_nonsense_is_no_key(accounts: Accounts, secret: str):
    accounts.keys.create("Ann", BOTH)
    assert accounts.keys.of(secret) is None


def test_a_key_ends_by_hand_for_good(accounts: Accounts):
    made, secret = accounts.keys.create("Ann", BOTH)
    assert accounts.keys.usable()
    revoked = accounts.keys.revoke(made.id)
    assert revoked.state == "revoked"
    assert accounts.keys.revoke(made.id).revoked_at == revoked.revoked_at
    assert accounts.keys.of(secret).state == "revoked"
    assert accounts.keys.exist()
    assert not accounts.keys.usable()
    with pytest.raises(NotFound, match="keys list"):
        accounts.keys.revoke("none")


def test_a_key_ends_by_time(accounts: Accounts):
    made, _ = accounts.keys.create("Ann", BOTH, days=0.05 / 86400)
    assert made.state == "usable"
    time.sleep(0.1)
    assert made.state == "expired"


def test_admin_holds_every_scope_and_patterns_match_whole_names(accounts: Accounts):
    made, _ = accounts.keys.create("Ann", ("admin",), ("round-*", "assistant"))
    assert made.allows("read-feedback")
    assert made.may_ask("round-001")
    assert not made.may_ask("my-round-001")
    other, _ = accounts.keys.create("Bob", ("chat",))
    assert not other.allows("feedback")
    assert not other.allows("admin")
    assert [key.name for key in accounts.keys.all()] == ["Ann", "Bob"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"scopes": ()}, "scope"),
        ({"scopes": ("chat", "root")}, "scope"),
        ({"versions": ()}, "versions"),
        ({"versions": ("",)}, "versions"),
        ({"limits": Limits(concurrent=0)}, "limit"),
        ({"days": 0}, "days"),
    ],
)
def test_a_key_that_would_open_nothing_is_not_made(accounts: Accounts, given: dict, param: str):
    with pytest.raises(Invalid) as caught:
        accounts.keys.create(**{"name": "Ann", "scopes": BOTH} | given)
    assert caught.value.param == param
    assert not accounts.keys.exist()
