"""API keys: shown once, stored hashed, with scopes, limits and an end."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import sqlalchemy as sa

from assistant.access.schema import api_key
from assistant.errors import Invalid, NotFound
from assistant.feedback.records import now_ms

Scope = Literal["chat", "feedback", "read-feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "sk-assistant-"
NAME_LENGTH = 100


@dataclass(frozen=True)
class Limits:
    """What a key may use; None: as much as there is."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Tokens of prompts and answers together."""
    concurrent: int | None = None
    """Requests being answered at once."""

    def __bool__(self) -> bool:
        return self != Limits()


@dataclass(frozen=True)
class Key:
    """What is known of a key; its secret part is not."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    versions: tuple[str, ...]
    limits: Limits
    trains: bool
    """Whether its holder's judgements may train, as the operator stated."""
    created_at: int
    expires_at: int | None
    revoked_at: int | None

    @property
    def state(self) -> Literal["usable", "expired", "revoked"]:
        """Whether it still opens anything."""
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and self.expires_at <= now_ms()
        return "expired" if expired else "usable"

    def allows(self, scope: Scope) -> bool:
        """Whether it was given that scope; `admin` holds the others."""
        return scope in self.scopes or "admin" in self.scopes

    def may_ask(self, version: str) -> bool:
        """Whether one of its patterns matches a name that a request gives."""
        return any(fnmatchcase(version, pattern) for pattern in self.versions)


class Keys:
    """The keys of one database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._write = engine
        self._read = engine.execution_options(isolation_level="AUTOCOMMIT")

    def create(
        self,
        name: str,
        scopes: Sequence[Scope],
        versions: Sequence[str] = ("*",),
        limits: Limits | None = None,
        trains: bool = False,
        days: float | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which nobody can ask for again; `days` until it ends."""
        limits = limits or Limits()
        _check(name, scopes, versions, limits, days)
        now = now_ms()
        key = Key(
            id=secrets.token_hex(4),
            name=name.strip(),
            scopes=tuple(dict.fromkeys(scopes)),
            versions=tuple(versions),
            limits=limits,
            trains=trains,
            created_at=now,
            expires_at=now + round(days * 86_400_000) if days is not None else None,
            revoked_at=None,
        )
        secret = f"{PREFIX}{key.id}.{secrets.token_urlsafe(32)}"
        with self._write.begin() as connection:
            connection.execute(api_key.insert().values(_columns(key) | {"hash": _hash(secret)}))
        return key, secret

    def of(self, secret: str) -> Key | None:
        """The key with that secret, whatever its state; None if there is none."""
        start, _, _ = secret.partition(".")
        row = self._row(start.removeprefix(PREFIX)) if start.startswith(PREFIX) else None
        if row is None or not hmac.compare_digest(row["hash"], _hash(secret)):
            return None
        return _key(row)

    def get(self, key_id: str) -> Key | None:
        """The key with that id, whatever its state."""
        row = self._row(key_id)
        return _key(row) if row else None

    def all(self) -> list[Key]:
        """Every key ever made, oldest first."""
        query = sa.select(api_key).order_by(api_key.c.created_at, api_key.c.id)
        with self._read.connect() as connection:
            return [_key(row) for row in connection.execute(query).mappings()]

    def exist(self) -> bool:
        """Whether a key was ever made: from then on, programs need one."""
        with self._read.connect() as connection:
            return connection.scalar(sa.select(sa.exists().select_from(api_key))) or False

    def usable(self) -> bool:
        """Whether there is a key that opens anything."""
        return any(key.state == "usable" for key in self.all())

    def revoke(self, key_id: str) -> Key:
        """End a key for good; running programs notice within seconds."""
        update = (
            api_key.update()
            .where(api_key.c.id == key_id, api_key.c.revoked_at.is_(None))
            .values(revoked_at=now_ms())
        )
        with self._write.begin() as connection:
            connection.execute(update)
            query = sa.select(api_key).where(api_key.c.id == key_id)
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFound(f"There is no key {key_id!r}; `assistant keys list` shows them.")
        return _key(row)

    def _row(self, key_id: str) -> sa.RowMapping | None:
        query = sa.select(api_key).where(api_key.c.id == key_id)
        with self._read.connect() as connection:
            return connection.execute(query).mappings().first()


def _check(
    name: str,
    scopes: Sequence[str],
    versions: Sequence[str],
    limits: Limits,
    days: float | None,
) -> None:
    if not 0 < len(name.strip()) <= NAME_LENGTH:
        raise Invalid(f"A key's name has 1 to {NAME_LENGTH} characters.", "name")
    if not scopes or set(scopes) - set(SCOPES):
        raise Invalid(f"A key has one or more of the scopes {', '.join(SCOPES)}.", "scope")
    if not versions or not all(versions):
        raise Invalid("A key needs a pattern of versions; * is all of them.", "versions")
    given = (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent)
    if any(limit is not None and limit < 1 for limit in given):
        raise Invalid("A limit is at least 1; leave it out for none.", "limit")
    if days is not None and days <= 0:
        raise Invalid("A key must be usable for some time.", "days")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _columns(key: Key) -> dict[str, Any]:
    values: dict[str, Any] = asdict(key)
    values |= values.pop("limits")
    return values | {name: list(values[name]) for name in ("scopes", "versions")}


def _key(row: sa.RowMapping) -> Key:
    limits = Limits(row["requests_per_minute"], row["tokens_per_minute"], row["concurrent"])
    same = ("id", "name", "trains", "created_at", "expires_at", "revoked_at")
    return Key(
        scopes=tuple(row["scopes"]),
        versions=tuple(row["versions"]),
        limits=limits,
        **{name: row[name] for name in same},
    )
