"""What is noted of a request while it is served: for its answer's headers, the log, the metrics."""

import secrets
import time
from dataclasses import dataclass, field

from starlette.types import Scope

from assistant.access.ledger import Used

NOTE = "assistant.note"


@dataclass
class Note:
    """One request; never what was said in it."""

    method: str
    path: str
    id: str = field(default_factory=lambda: f"req_{secrets.token_hex(16)}")
    began: float = field(default_factory=time.monotonic)
    headers: dict[str, str] = field(default_factory=dict)
    """What its answer tells besides."""
    route: str = ""
    """The path with the names of its parts, where an endpoint was found."""
    status: int = 499
    """Of the answer; 499 where the client left before there was one."""
    who: str = ""
    version: str = ""
    used: Used | None = None
    answering_after: float | None = None
    """Seconds until the answer began."""

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began


def note_of(scope: Scope) -> Note:
    """The note of a request that is being served; a fresh one outside of the API."""
    note: Note = scope.get(NOTE) or Note(scope["method"], scope["path"])
    return note
