"""Who used how much of which version on which day."""

import datetime
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from assistant.access.schema import usage

COUNTS = ("requests", "unfinished", "prompt_tokens", "completion_tokens")
LETTERS_PER_TOKEN = 4
KEY = ("day", "who", "version")


@dataclass
class Used:
    """What one request used; `finished` once its answer was given to its end."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    finished: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    """What the answer tells of the key's limits."""

    @property
    def tokens(self) -> int:
        """Tokens of prompt and answers together."""
        return self.prompt_tokens + self.completion_tokens

    def hear(self, chunk: dict[str, Any]) -> None:
        """Count a piece of an answer as a token, until the engine says how many there were."""
        if counted := chunk.get("usage"):
            self.prompt_tokens = counted.get("prompt_tokens") or 0
            self.completion_tokens = counted.get("completion_tokens") or 0
        else:
            self.completion_tokens += bool(chunk.get("choices"))


def estimated(texts: Iterable[str | None]) -> int:
    """About how many tokens a prompt of these texts has, before an engine counted them."""
    return sum(len(text or "") for text in texts) // LETTERS_PER_TOKEN + 1


class Ledger:
    """Adds up in memory, and writes once in a while: losing a second of it harms nobody."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._unwritten: dict[tuple[str, str, str], dict[str, int]] = defaultdict(
            lambda: dict.fromkeys(COUNTS, 0)
        )

    def add(self, who: str, version: str, used: Used) -> None:
        """Count one request that is over."""
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        with self._lock:
            row = self._unwritten[day, who, version]
            row["requests"] += 1
            row["unfinished"] += not used.finished
            row["prompt_tokens"] += used.prompt_tokens
            row["completion_tokens"] += used.completion_tokens

    def write(self) -> None:
        """Put what was counted into the database; what cannot be written stays counted."""
        with self._lock:
            rows = dict(self._unwritten)
            self._unwritten.clear()
        if not rows:
            return
        try:
            with self._engine.begin() as connection:
                for key, counts in rows.items():
                    connection.execute(_adding(connection.dialect.name, key, counts))
        except Exception:
            self._take_back(rows)
            raise

    def read(self, days: int = 30) -> list[dict[str, Any]]:
        """Rows of the last days, newest day first."""
        since = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=days)
        query = sa.select(usage).where(usage.c.day > since.isoformat())
        query = query.order_by(usage.c.day.desc(), usage.c.who, usage.c.version)
        read = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with read.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _take_back(self, rows: dict[tuple[str, str, str], dict[str, int]]) -> None:
        with self._lock:
            for key, counts in rows.items():
                for name, count in counts.items():
                    self._unwritten[key][name] += count


def _adding(dialect: str, key: Iterable[str], counts: dict[str, int]) -> sa.Insert:
    """Add to the row of a key, or begin it."""
    values = dict(zip(KEY, key, strict=True)) | counts
    if dialect == "postgresql":
        insert: Any = postgresql.insert(usage).values(values)
    else:
        insert = sqlite.insert(usage).values(values)
    more = {name: usage.c[name] + insert.excluded[name] for name in COUNTS}
    statement: sa.Insert = insert.on_conflict_do_update(index_elements=list(KEY), set_=more)
    return statement
