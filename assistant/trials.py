"""Trials: a candidate beside the current version until people's votes decide.

A trial is one JSON file. Whoever made the candidate begins it; the served program ends it.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from assistant.disk import write_synced
from assistant.errors import Invalid, ModelError
from assistant.history import now
from assistant.verdict import Verdict

Outcome = Literal["promoted", "withdrawn"]


@dataclass(frozen=True)
class Trial:
    """One candidate against the version that was current when it began."""

    id: str
    candidate: str
    against: str
    began_at: str
    outcome: Outcome | None = None
    reason: str = ""
    ended_at: str | None = None
    verdict: dict[str, Any] | None = None
    """The votes' verdict when it ended."""


class Trials:
    """A folder of trials, at most one of them running."""

    def __init__(self, home: Path) -> None:
        self.folder = home.resolve() / "trials"

    def all(self) -> list[Trial]:
        """Every trial, in the order they began."""
        return list(self._read())

    def running(self) -> Trial | None:
        """The trial that still asks for votes."""
        return next((trial for trial in self._read() if trial.outcome is None), None)

    def of(self, version: str) -> Trial | None:
        """The latest trial of a candidate."""
        return next((t for t in reversed(self.all()) if t.candidate == version), None)

    def begin(self, candidate: str, against: str) -> Trial:
        """Put a candidate on trial; asked again for the same one, gives the trial there is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            if known := self.of(candidate):
                return known
            if busy := self.running():
                raise Invalid(
                    f"{busy.candidate} is on trial already; let people decide that trial, or end "
                    "it with `assistant promote` or `assistant withdraw`."
                )
            number = max((int(t.id.removeprefix("trial-")) for t in self._read()), default=0) + 1
            trial = Trial(f"trial-{number:03}", candidate, against, now())
            self._write(trial)
        return trial

    def end(self, trial: Trial, outcome: Outcome, reason: str, verdict: Verdict | None) -> Trial:
        """Note how a trial ended; one that has ended stays as it was."""
        with FileLock(self.folder / "lock"):
            known = self._one(self.folder / f"{trial.id}.json")
            if known.outcome is not None:
                return known
            ended = replace(
                known,
                outcome=outcome,
                reason=reason,
                ended_at=now(),
                verdict=asdict(verdict) if verdict else None,
            )
            self._write(ended)
        return ended

    def _read(self) -> Iterator[Trial]:
        for file in sorted(self.folder.glob("trial-*.json")):
            yield self._one(file)

    def _one(self, file: Path) -> Trial:
        try:
            return Trial(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"The trial {file} is unreadable ({error}); restore or remove it."
            ) from None

    def _write(self, trial: Trial) -> None:
        scratch = self.folder / f".{trial.id}.{os.getpid()}"
        write_synced(scratch, json.dumps(asdict(trial), indent=2))
        scratch.replace(self.folder / f"{trial.id}.json")
