"""How far a long command has come: a bar in the terminal, and a file that the page reads."""

import json
import os
import sys
import time
from pathlib import Path

from align.ranks import follower

BAR = 30


class Progress:
    """Writes `progress.json` beside the work, at most a few times a second."""

    def __init__(self, folder: Path, pause: float = 0.5) -> None:
        self._file = folder / "progress.json"
        self._pause = pause
        self._began = time.monotonic()
        self._first: int | None = None
        self._written = 0.0

    def update(self, done: int, total: int, what: str = "steps") -> None:
        """Say that `done` of `total` are finished."""
        self._first = done if self._first is None else self._first
        now = time.monotonic()
        if now - self._written < self._pause and done < total:
            return
        self._written = now
        pace = (now - self._began) / max(1, done - self._first + 1)
        left = round(pace * (total - done))
        state = {"done": done, "total": total, "what": what, "seconds_left": left}
        scratch = self._file.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(state), encoding="utf-8")
        scratch.replace(self._file)
        self._show(done, total, what, left)

    def _show(self, done: int, total: int, what: str, left: int) -> None:
        if follower() or not sys.stderr.isatty():
            return
        filled = BAR * done // max(1, total)
        bar = "█" * filled + "·" * (BAR - filled)
        end = "\n" if done >= total else ""
        print(f"\r  {bar} {done}/{total} {what}, about {left} s left ", end=end, file=sys.stderr)  # noqa: T201
