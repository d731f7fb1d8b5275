"""A folder of finished steps: what is finished is never done again, what was killed goes on."""

import json
import os
import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from assistant.disk import write_synced
from assistant.errors import Invalid

NOTE = "step.json"
INPUTS = "inputs.json"

Report = Callable[[str], None]
Work = Callable[[Path], dict[str, Any]]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside the block nobody else works in a folder. Raises Invalid where somebody does."""
    locks = folder.parent.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(
        locks / f"{folder.parent.name}-{folder.name}.lock", timeout=1
    )  # a page that looks takes it, too
    try:
        lock.acquire()
    except Timeout as error:
        raise Invalid(
            f"{folder.name} is being made by another command: wait for its end, or choose another "
            "--name."
        ) from error
    try:
        yield
    finally:
        lock.release()


class Steps:
    """Each step works in `.name` and becomes `name` at once when it is finished."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder = folder
        self._report = report
        folder.mkdir(parents=True, exist_ok=True)

    def do(self, name: str, work: Work, **inputs: Any) -> dict[str, Any]:
        """The result of a step: read if it is finished, else worked for in its scratch folder.

        `inputs` are the hashes and knobs that the result depends on. A finished step that was made
        from others raises Invalid; an unfinished one is begun anew.
        """
        place, scratch = self.folder / name, self.folder / f".{name}"
        if (place / NOTE).is_file():
            note = json.loads((place / NOTE).read_text(encoding="utf-8"))
            if note["inputs"] != plain(inputs):
                raise Invalid(
                    f"{place} was made from other inputs; remove {self.folder} to begin anew."
                )
            self._report(f"{name}: finished before, in {note['seconds']} s")
            return dict(note["result"])
        self._prepare(scratch, inputs)
        self._report(f"{name}: begins")
        began = time.monotonic()
        with full_disks_named():
            result = work(scratch)
        seconds = round(time.monotonic() - began, 1)
        note = {
            "inputs": plain(inputs),
            "result": result,
            "seconds": seconds,
            "peak_gib": peak_gib(),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write_synced(scratch / NOTE, json.dumps(note, indent=2))
        scratch.rename(place)
        self._report(f"{name}: finished in {seconds} s")
        return result

    def _prepare(self, scratch: Path, inputs: dict[str, Any]) -> None:
        """Keep what a killed run left, unless that was made from other inputs."""
        note = scratch / INPUTS
        if scratch.exists() and not (note.is_file() and note.read_text() == _text(inputs)):
            self._report(f"{scratch.name[1:]}: begun before with other rows or knobs; begins anew")
            shutil.rmtree(scratch)
        if not scratch.exists():
            scratch.mkdir()
            write_synced(note, _text(inputs))


@contextmanager
def full_disks_named() -> Iterator[None]:
    """Raise what the Rust and C++ parts of a step say when they cannot write as the OSError it is.

    safetensors and tokenizers end with "(os error 28)"; torch.save knows no number.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if told := re.search(r"\(os error (\d+)\)", str(error)):
            number = int(told[1])
            raise OSError(number, os.strerror(number)) from error
        if "inline_container.cc" in str(error) or "iostream error" in str(error):
            raise OSError("a file could not be written") from error
        raise


def peak_gib() -> float:
    """The most memory this process has held so far, in GiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def _text(inputs: dict[str, Any]) -> str:
    return json.dumps(inputs, sort_keys=True, default=str)


def plain(inputs: dict[str, Any]) -> Any:
    """Inputs as they are after they were written and read."""
    return json.loads(_text(inputs))
