"""What was made current when, and why: a log that is only added to."""

import json
import time
from pathlib import Path
from typing import Any


class History:
    """The promotions and rollbacks of one registry."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def entries(self) -> list[dict[str, Any]]:
        """Every promotion and rollback, oldest first; what a crash cut off is left out."""
        if not self._file.is_file():
            return []
        lines = self._file.read_text(encoding="utf-8").splitlines()
        whole = [line[line.rindex('{"at"') :] for line in lines if line.endswith("}")]
        return [json.loads(line) for line in whole]

    def line(self) -> list[str]:
        """The current version and those before it that a rollback would go back to."""
        line: list[str] = []
        for entry in self.entries():
            if entry.get("rollback"):
                line = line[:-1]
            if line[-1:] != [entry["to"]]:
                line.append(entry["to"])
        return line

    def note(self, entry: dict[str, Any]) -> None:
        """Add one entry, with the time."""
        with self._file.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"at": now(), **entry}) + "\n")


def now() -> str:
    """The time as it is noted (UTC)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
