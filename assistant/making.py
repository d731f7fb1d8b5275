"""What `align` makes in a home, as the served program sees it: the files that it writes."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

NOTE = "step.json"  # what `align.steps` leaves in a finished step


@dataclass(frozen=True)
class Step:
    """One step: `state` is finished, running or waiting."""

    name: str
    state: str
    seconds: float | None = None
    progress: dict[str, Any] | None = None
    """done, total, what and seconds_left of a running step."""


@dataclass(frozen=True)
class Making:
    """A version that a command makes, or made until it was interrupted."""

    name: str
    running: bool
    steps: tuple[Step, ...]
    curves: dict[str, list[dict[str, Any]]]
    """The numbers of each training step, by step."""


def makings(home: Path) -> list[Making]:
    """All that is being made outside of rounds, by name."""
    found = []
    for folder in sorted((home / "making").glob("[!.]*")):
        with suppress(FileNotFoundError):  # finished while it was looked at
            if folder.is_dir():
                found.append(_making(home, folder))
    return found


def _making(home: Path, folder: Path) -> Making:
    begun = _begun(folder)
    curves = {name: curve for name in begun if (curve := curve_of(folder, name))}
    running = held(home / "locks" / f"making-{folder.name}.lock")
    return Making(folder.name, running, tuple(step(folder, name) for name in begun), curves)


def _begun(folder: Path) -> list[str]:
    """The names of steps, the ones that were finished first in front."""
    places = [place for place in folder.glob("*") if place.is_dir()]
    finished = [place for place in places if (place / NOTE).is_file()]
    finished.sort(key=lambda place: (place / NOTE).stat().st_mtime)
    going_on = sorted(place.name[1:] for place in places if place.name.startswith("."))
    return [place.name for place in finished] + going_on


def held(lock: Path) -> bool:
    """Whether some process holds a lock."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def step(folder: Path, name: str) -> Step:
    """How a step of a folder of steps stands."""
    if note := read(folder / name / NOTE):
        return Step(name, "finished", note["seconds"])
    if (folder / f".{name}").is_dir():
        return Step(name, "running", progress=read(folder / f".{name}" / "progress.json"))
    return Step(name, "waiting")


def curve_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """The numbers that a training wrote so far; of the latest one, where a step trains several."""
    places = (folder / name, folder / f".{name}")
    files = [file for place in places for file in place.glob("*/made/curve.jsonl")]
    if not files:
        return []
    try:
        lines = max(files, key=lambda file: file.stat().st_mtime).read_text(encoding="utf-8")
    except FileNotFoundError:  # its step was finished meanwhile
        return []
    return [json.loads(line) for line in lines.splitlines() if line.endswith("}")]


def read(file: Path) -> dict[str, Any] | None:
    """An object of JSON; None where there is none, or half of one."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
