"""`assistant keys …`: who else may use the API, and how much they did."""

import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from assistant.errors import Invalid
from assistant.settings import from_environment

if TYPE_CHECKING:
    from assistant.access.accounts import Accounts
    from assistant.access.keys import Key, Limits

LIMITS = ("requests-per-minute", "tokens-per-minute", "concurrent")
keys = tyro.extras.SubcommandApp()


@keys.command
def create(
    name: Annotated[str, tyro.conf.Positional],
    *,
    scope: tyro.conf.UseAppendAction[list[Literal["chat", "feedback", "read-feedback", "admin"]]],
    versions: tyro.conf.UseAppendAction[list[str]],
    limit: tyro.conf.UseAppendAction[list[str]],
    days: float | None = None,
    may_train: bool = False,
) -> None:
    """Make a key; it is shown once. From the first key on, programs need one.

    Args:
        name: For whom or what it is.
        scope: What it opens: chat, feedback, read-feedback, admin; chat and feedback if not given.
        versions: A pattern of versions it may ask, such as `assistant` or `round-*`; all if none.
        limit: requests-per-minute=60, tokens-per-minute=20000 or concurrent=4.
        days: How long it works; for good if not given.
        may_train: State that its holder agreed that judgements and what they are about may train.
    """
    with _accounts() as accounts:
        key, secret = accounts.keys.create(
            *(name, scope or ["chat", "feedback"], versions or ["*"], _limits(limit)),
            trains=may_train,
            days=days,
        )
    print(f"Key {key.id} for {key.name}: {', '.join(key.scopes)}.")
    print(f"\n    {secret}\n")
    print("It is not shown again. Next: assistant keys list")


@keys.command(name="list")
def list_(*, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:
    """List the keys, without what is secret.

    Args:
        as_json: Print them as JSON.
    """
    with _accounts() as accounts:
        found = accounts.keys.all()
    if as_json:
        _print_json([asdict(key) | {"state": key.state} for key in found])
        return
    for key in found:
        print(f"{key.id}  {key.state:8} {key.name:24} {', '.join(key.scopes):24} {_told(key)}")
    print("Next: assistant keys usage" if found else "None yet. Next: assistant keys create NAME")


@keys.command
def revoke(key_id: Annotated[str, tyro.conf.Positional]) -> None:
    """End a key for good; running programs refuse it within 5 seconds.

    Args:
        key_id: The key's id, as `assistant keys list` shows it.
    """
    with _accounts() as accounts:
        key = accounts.keys.revoke(key_id)
    print(f"Key {key.id} ({key.name}) opens nothing any more. Next: assistant keys list")


@keys.command
def usage(*, days: int = 30, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:
    """Show who used how much of which version, by day.

    Args:
        days: How many days back.
        as_json: Print the rows as JSON.
    """
    with _accounts() as accounts:
        rows = accounts.ledger.read(days)
        names = {key.id: key.name for key in accounts.keys.all()}
    if as_json:
        _print_json(rows)
        return
    print(f"{'day':10}  {'who':24} {'version':32} requests  unfinished  prompt + answer tokens")
    for row in rows:
        who = names.get(row["who"], row["who"])
        print(
            f"{row['day']:10}  {who:24} {row['version']:32} {row['requests']:8}  "
            f"{row['unfinished']:10}  {row['prompt_tokens']} + {row['completion_tokens']}"
        )
    print("Next: assistant keys list")


def _limits(given: Sequence[str]) -> "Limits":
    from assistant.access.keys import Limits

    limits: dict[str, int] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in LIMITS or not value.isdigit():
            raise Invalid(f"{text!r} is no limit; write one of {'=…, '.join(LIMITS)}=….", "limit")
        limits[name.replace("-", "_")] = int(value)
    return Limits(**limits)


def _told(key: "Key") -> str:
    told = [f"{value} {name}" for name, value in asdict(key.limits).items() if value]
    told += [f"versions {' '.join(key.versions)}"] if key.versions != ("*",) else []
    if key.expires_at:
        ends = datetime.datetime.fromtimestamp(key.expires_at / 1000, datetime.UTC)
        told.append(f"until {ends:%Y-%m-%d %H:%M} UTC")
    told += ["may train"] if key.trains else []
    return ", ".join(told).replace("_", " ")


def _accounts() -> "Accounts":
    from assistant.access.accounts import Accounts

    return Accounts(from_environment(os.environ).database)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
