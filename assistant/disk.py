"""Writing so that a file or folder is there as a whole, or not at all."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


def write_synced(file: Path, text: str) -> None:
    """Write a text file and wait until it is on disk."""
    with file.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until what was moved into a folder is there after a power cut."""
    if os.name == "nt":  # Windows cannot open folders, and keeps renames itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_hash(file: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashed(folder: Path, *patterns: str) -> dict[str, dict[str, Any]]:
    """Name → bytes and sha256 of the files of a folder that match."""
    return {
        file.name: {"bytes": file.stat().st_size, "sha256": file_hash(file)}
        for pattern in patterns
        for file in sorted(folder.glob(pattern))
    }


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A new folder inside `folder`, removed unless it is moved away; sweeps what killed ones left.

    Its name begins with a dot and names the process that works in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".making-*"):
        if not psutil.pid_exists(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    made = folder / f".making-{os.getpid()}-{time.monotonic_ns()}"
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
