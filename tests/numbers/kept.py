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

    `of` is the hash of what is measured. None begins after `ends`, in seconds of `time.monotonic`.
    """

    def __init__(self, folder: Path, shelf: Path, of: str, machine: str, ends: float) -> None:
        super().__init__(folder, lambda line: print(line, flush=True))
        self._shelf, self._of, self._machine, self._ends = shelf, of, machine, ends
        self.machines: list[str] = []
        """Of all that was asked for so far."""

    def beside(self, study: str) -> "Kept":
        """What another study keeps, which this one needs, too."""
        folder, shelf = self.folder.parent / study, self._shelf.parent / study
        other = Kept(folder, shelf, self._of, self._machine, self._ends)
        other.machines = self.machines
        return other

    def measure(self, name: str, work: Work, **inputs: Any) -> dict[str, Any] | None:
        """As `keep`, but None if it is not there and no time is left."""
        there = (self._shelf / f"{name}.json").is_file()
        late = not there and time.monotonic() > self._ends
        return None if late else self.keep(name, work, **inputs)

    def keep(self, name: str, work: Work, **inputs: Any) -> dict[str, Any]:
        """As `do`, for a step of which nothing but its result is needed.

        Raises Invalid where that was measured with other inputs.
        """
        file, inputs = self._shelf / f"{name}.json", {"of": self._of, **inputs}
        if file.is_file():
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["inputs"] != plain(inputs):
                raise Invalid(f"{file} was measured with other inputs; remove it to begin anew.")
            self._note(kept["machine"])
            return dict(kept["result"])
        result = self.do(name, work, **inputs)
        self._shelf.mkdir(parents=True, exist_ok=True)
        kept = {"machine": self._machine, "inputs": plain(inputs), "result": result}
        write_synced(file, json.dumps(kept, indent=2) + "\n")
        self._note(self._machine)
        return result

    def _note(self, machine: str) -> None:
        if machine not in self.machines:
            self.machines.append(machine)
