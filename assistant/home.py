"""The home folder: writable, and used by one running program at a time."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from assistant.errors import AssistantError

SECRET_BYTES = 32


@contextmanager
def claimed(home: Path, address: str) -> Iterator[None]:
    """Hold the home folder for this program; a second one is told where the first one listens."""
    note = home / "running-at"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(home / "lock")
        lock.acquire(timeout=0)
        note.write_text(address, encoding="utf-8")
    except Timeout:
        raise AssistantError(
            f"Another instance already uses {home.resolve()} (it listens on "
            f"{note.read_text(encoding='utf-8')}); stop it, or set ASSISTANT_HOME elsewhere."
        ) from None
    except OSError as error:
        raise AssistantError(
            f"Cannot write to {home.resolve()} ({error.strerror}); make it writable, free some "
            "space, or set ASSISTANT_HOME to another folder."
        ) from None
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def running_at(home: Path) -> str | None:
    """Where the program that uses this home listens, if one does."""
    try:
        with FileLock(home / "lock", timeout=0):
            return None
    except Timeout:
        return (home / "running-at").read_text(encoding="utf-8")
    except OSError:  # no home, or not ours to look at
        return None


def secret(file: Path) -> bytes:
    """The secret in a file, made on first use and readable by its user alone."""
    try:
        if not file.exists():
            _make_secret(file)
        found = file.read_bytes()
    except OSError as error:
        raise AssistantError(
            f"The secret {file} cannot be read or made ({error.strerror}); make its folder "
            "writable, or set ASSISTANT_SECRET_FILE to another file."
        ) from None
    if len(found) < SECRET_BYTES:
        raise AssistantError(
            f"The secret {file} is shorter than {SECRET_BYTES} bytes; remove it, so that a new one "
            "is made."
        )
    return found


def _make_secret(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(SECRET_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
