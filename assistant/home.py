"""The home folder: writable, and used by one running program at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from assistant.errors import AssistantError


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
