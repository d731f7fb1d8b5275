"""Rounds as the served program sees them: a process it may start, and the files that one writes."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.making import Step, curve_of, held, read, step
from assistant.settings import Settings

STAGES = ("sft", "dpo", "kto")
AFTER = ("register", "check", "trial")


@dataclass(frozen=True)
class RoundView:
    """A round as far as it has come."""

    name: str
    steps: tuple[Step, ...]
    curves: dict[str, list[dict[str, Any]]]
    """The numbers of each training step, by stage."""
    data: dict[str, Any] = field(default_factory=dict)
    outcome: dict[str, Any] | None = None


class Rounds:
    """The `rounds` folder of a home."""

    def __init__(self, settings: Settings) -> None:
        self.home = settings.home.resolve()
        self.folder = self.home / "rounds"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the latest round that was started from the page printed."""
        return self.folder / "log.txt"

    def running(self) -> bool:
        """Whether a round is being worked on, by whomever it was started."""
        return held(self.folder / "lock")

    def start(self) -> None:
        """Begin a round, or go on with the unfinished one, in a process of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ours = {"ASSISTANT_HOME": str(self.home)}
        if self._settings.database_url:
            ours["ASSISTANT_DATABASE_URL"] = self._settings.database_url
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "align", "round"],
                env=os.environ | ours,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Whether the process that was started here has ended."""
        return self._process is None or self._process.poll() is not None

    def refused(self) -> bool:
        """Whether the process that was started here ended with a complaint."""
        return self._process is not None and self._process.poll() not in (None, 0)

    def last_words(self) -> str:
        """The last line of the latest round's log."""
        if not self.log.is_file():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def stop(self) -> None:
        """End a round that was started here; the next one goes on where it was."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=10)

    def latest(self) -> RoundView | None:
        """The newest round, finished or not."""
        folders = sorted(self.folder.glob("round-*"))
        return _view(folders[-1]) if folders else None


def step_of(stage: str, training: int) -> str:
    """The name of a stage's step, where a round trains several times and averages."""
    return stage if training == 0 else f"{stage}-{training + 1}"


def _view(folder: Path) -> RoundView:
    begun = read(folder / "begun.json") or {}
    stages = [stage for stage in STAGES if stage in begun.get("recipes", {})]
    trained = [step_of(s, n) for n in range(begun.get("trainings", 1)) for s in stages]
    steps = tuple(step(folder, name) for name in (*trained, *AFTER))
    curves = {name: curve for name in trained if (curve := curve_of(folder, name))}
    outcome = read(folder / "outcome.json")
    return RoundView(folder.name, steps, curves, read(folder / "data.json") or {}, outcome)
