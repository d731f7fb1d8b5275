"""The form of a version that engines load: its own files, or the same weights in 8 bits.

A version keeps its files for ever, because the next one is trained from them. `align publish` adds
a smaller form beside the card and notes how faithful it is; engines load it from their next start.
"""

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from assistant.disk import hashed, sync_folder, write_synced
from assistant.errors import ModelError

NOTE = "published.json"
FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
Form = Literal["bf16", "int8"]


@dataclass(frozen=True)
class Published:
    """In which form a version is served, how faithful that is, and why it is not a smaller one."""

    form: Form = "bf16"
    checks: dict[str, Any] = field(default_factory=dict)
    """Name → {value, limit}, of the smaller form beside the version's own files."""
    reasons: tuple[str, ...] = ()
    """Why the smaller form is not served, where it was tried."""
    folder: str = ""
    """Where the smaller form is, if that is served."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Its files, as on a card."""


def of(card_folder: Path) -> Published:
    """What was published beside a card; a version that never was is served from its own files."""
    note = card_folder / NOTE
    if not note.is_file():
        return Published()
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        folder = str(card_folder / facts["folder"]) if facts["folder"] else ""
        return Published(**{**facts, "folder": folder, "reasons": tuple(facts["reasons"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{note} is unreadable ({error}); remove it, then publish {card_folder.name} again."
        ) from None


def publish(card_folder: Path, made: Path | None, checks: dict[str, Any], why: list[str]) -> None:
    """Serve a version in the form in `made` from now on, or from its own files (None)."""
    note = {"form": "bf16", "checks": checks, "reasons": why, "folder": "", "files": {}}
    if made:
        folder = f"int8-{time.time_ns()}"  # made anew, it lies beside the old one
        note |= {"form": "int8", "folder": folder, "files": hashed(made, *FILES)}
        made.rename(card_folder / folder)
    draft = card_folder / f".{NOTE}"
    write_synced(draft, json.dumps(note, indent=2))
    draft.replace(card_folder / NOTE)
    sync_folder(card_folder)


def sweep(card_folder: Path) -> None:
    """Remove the forms that no note names any more."""
    served = of(card_folder).folder
    for old in card_folder.glob("int8-*"):
        if str(old) != served:
            shutil.rmtree(old, ignore_errors=True)
