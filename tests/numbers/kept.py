"""Steps whose results are kept in the repository, so that a study goes on on another machine."""

import json
import time
from pathlib import Path
from typing import Any

from align.steps import Steps, Work, plain
from assistant.disk import write_synced
from assistant.errors import Invalid


class Kept(Steps):
    """Steps in `folder`, whose measures lie on the `shelf`, each with the machine it was made on.

    None begins once the `minutes` are over.
    """

    def __init__(
        self, folder: Path, shelf: Path, machine: str, minutes: float = float("inf")
    ) -> None:
        super().__init__(folder, lambda line: print(line, flush=True))
        self._shelf, self._machine = shelf, machine
        self._ends = time.monotonic() + 60 * minutes

    def measure(self, name: str, work: Work, **inputs: Any) -> dict[str, Any] | None:
        """As `do`, for a step of which nothing but its result is needed; None if there is no time.

        Raises Invalid where that was measured with other inputs.
        """
        file = self._shelf / f"{name}.json"
        if file.is_file():
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["inputs"] != plain(inputs):
                raise Invalid(f"{file} was measured with other inputs; remove it to begin anew.")
            return dict(kept["result"])
        if time.monotonic() > self._ends:
            return None
        result = self.do(name, work, **inputs)
        self._shelf.mkdir(parents=True, exist_ok=True)
        kept = {"machine": self._machine, "inputs": plain(inputs), "result": result}
        write_synced(file, json.dumps(kept, indent=2) + "\n")
        return result
