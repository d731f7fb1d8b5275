"""Versions of the model: a folder each, with a card, and an atomic pointer to the current one."""

import hashlib
import json
import os
import re
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assistant import published
from assistant.dialect import template_of
from assistant.disk import file_hash, hashed, scratch, sync_folder, write_synced
from assistant.errors import ModelError, NotFound
from assistant.history import History, now
from assistant.home import running_at
from assistant.version import MODERATION, Adapter, Version, speaking

NAME = re.compile(r"^(?!current$|assistant$)[a-z0-9][a-z0-9._-]{0,63}$")
SERVED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model")
UNSAFE_FILES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


def require_name(name: str) -> None:
    """Raises ModelError where no version can be called so."""
    if not NAME.match(name):
        raise ModelError(
            f"{name!r} cannot name a version: use up to 64 small letters, digits, '.', '_', "
            "'-', starting with a letter or digit."
        )


class Registry:
    """A folder of versions. Registering and promoting are atomic; nothing is ever overwritten."""

    def __init__(self, home: Path) -> None:
        self.folder = home.resolve() / "versions"
        self._pointer = self.folder / "current"
        self._history = History(self.folder / "promotions.jsonl")

    def versions(self) -> list[Version]:
        """Every registered version, oldest first."""
        cards = self.folder.glob("[!.]*/card.json")
        return sorted((_read_card(card) for card in cards), key=lambda v: (v.created_at, v.name))

    def get(self, name: str) -> Version:
        """One version by name, or NotFound saying which exist."""
        card = self.folder / name / "card.json"
        if NAME.match(name) and card.is_file():
            return _read_card(card)
        known = ", ".join(v.name for v in self.versions()) or "none yet"
        raise NotFound(f"There is no version {name!r}; there are: {known}.")

    def lineage(self, version: Version) -> list[str]:
        """A version and what it was made from, back to the first."""
        names = [version.name]
        while version.base and version.base not in names:
            names.append(version.base)
            if not self.has(version.base):
                break
            version = self.get(version.base)
        return names

    def has(self, name: str) -> bool:
        """Whether a version of that name is registered."""
        return bool(NAME.match(name)) and (self.folder / name / "card.json").is_file()

    def staging(self) -> AbstractContextManager[Path]:
        """A scratch folder on the registry's own disk, removed unless it becomes a version."""
        return scratch(self.folder)

    def register(self, name: str, made: Path, **card: Any) -> Version:
        """Move a finished folder into the registry under `name` and write its card.

        `card` holds kind, source, and optionally base, notes, facts and adapter.
        """
        self._check_new(name)
        _write_card(made, describe(name, made, folder="", **card))
        self.folder.mkdir(parents=True, exist_ok=True)
        made.rename(self.folder / name)
        sync_folder(self.folder)
        return self.get(name)

    def register_in_place(self, name: str, folder: Path, **card: Any) -> Version:
        """Register a folder of weights where it lies; only the card is written here."""
        self._check_new(name)
        version = describe(name, folder.resolve(), folder=str(folder.resolve()), **card)
        with self.staging() as made:
            _write_card(made, version)
            made.rename(self.folder / name)
        return version

    def _check_new(self, name: str) -> None:
        require_name(name)
        if (self.folder / name).exists():
            raise ModelError(f"There already is a version {name!r}; choose another name.")

    def publish(
        self, version: Version, made: Path | None, checks: dict[str, Any], why: list[str]
    ) -> Version:
        """Serve a version in the smaller form in `made`, or from its own files (None).

        `made` lies in `staging()` and is moved away; `checks` and `why` are kept for people. A form
        that was served before is removed, unless a program runs, whose engine may load it again.
        """
        published.publish(self.folder / version.name, made, checks, why)
        if running_at(self.folder.parent) is None:
            published.sweep(self.folder / version.name)
        return self.get(version.name)

    def verify(self, version: Version) -> None:
        """Compare every file with the card, by size and SHA-256; ModelError if one differs."""
        for name, known in version.files.items():
            _compare(version.path / name, known, version.name, _mend(version))

    def verify_served(self, version: Version) -> None:
        """Compare what an engine loads with what was registered or published, as `verify` does.

        Reading the files also warms the page cache for the engine that loads them next.
        """
        if version.published.form == "bf16":
            self.verify(version)
        for name, known in version.published.files.items():
            mend = f"`align publish {version.name}` makes it anew."
            _compare(version.served / name, known, version.name, mend)

    def verify_adapter(self, version: Version) -> None:
        """Compare a version's adapter, if it has one, with its card, as `verify` does."""
        if version.adapter:
            for name, known in version.adapter.files.items():
                file = version.path / version.adapter.folder / name
                _compare(file, known, version.name, _mend(version))

    @property
    def current(self) -> Version | None:
        """The promoted version, if any."""
        if not self._pointer.is_file():
            return None
        return self.get(self._pointer.read_text(encoding="utf-8").strip())

    def promote(self, name: str, reason: str = "by hand", *, instead: bool = False) -> Version:
        """Make `name` the current version, atomically, and note it in the history.

        `instead`: of the current one, which no rollback shall lead back to.
        """
        version = speaking(self.get(name))
        before = self.current
        self._point_to(name)
        entry = {"from": before.name if before else None, "to": name, "reason": reason}
        self._history.note(entry | ({"rollback": True} if instead else {}))
        return version

    def rollback(self, reason: str = "by hand") -> Version:
        """Make the version current that was so before the current one was promoted.

        Rolling back again goes one further back. Raises NotFound where there is nothing before.
        """
        line = self._history.line()
        if len(line) < 2:
            raise NotFound("There is nothing to roll back to: no version was promoted before.")
        version = self.get(line[-2])
        self._point_to(version.name)
        self._history.note(
            {"from": line[-1], "to": version.name, "reason": reason, "rollback": True}
        )
        return version

    def history(self) -> list[dict[str, Any]]:
        """Every promotion and rollback, oldest first: at, from, to, reason."""
        return self._history.entries()

    def _point_to(self, name: str) -> None:
        scratch = self._pointer.with_suffix(f".{os.getpid()}")
        write_synced(scratch, name + "\n")
        scratch.replace(self._pointer)
        sync_folder(self.folder)


def describe(
    name: str, files_in: Path, *, folder: str, kind: str, source: str, **card: Any
) -> Version:
    """Check a model folder and hash it into a card.

    Raises ModelError for missing weights, pickled weights and remote code.
    """
    safe = any(files_in.glob("*.safetensors"))
    for pattern in UNSAFE_FILES:
        if (found := next(files_in.glob(pattern), None)) and not safe:
            raise ModelError(
                f"{found.name} in {files_in} is a pickle that can run code; only safetensors "
                "weights are loaded. Convert it first."
            )
    reads_tokens = kind != MODERATION
    for needed in ("config.json", *(["tokenizer.json"] if reads_tokens else [])):
        if not (files_in / needed).is_file():
            raise ModelError(f"{files_in} is not a model folder: it has no {needed}.")
    if not safe:
        raise ModelError(f"{files_in} holds no *.safetensors weights.")
    if "auto_map" in json.loads((files_in / "config.json").read_text(encoding="utf-8")):
        raise ModelError(f"{files_in} wants to run code of its own (auto_map); that is refused.")
    files = hashed(files_in, *SERVED_FILES)
    files.pop("card.json", None)
    template = template_of(files_in)
    return Version(
        name=name,
        kind=kind,
        source=source,
        content_hash=_hash_of_hashes(files),
        template_hash=hashlib.sha256(template.encode()).hexdigest() if template else "",
        files=files,
        folder=folder,
        created_at=now(),
        **card,
    )


def _compare(file: Path, known: dict[str, Any], version: str, mend: str) -> None:
    if not file.is_file():
        raise ModelError(f"Version {version!r} lacks {file.name}; {mend}")
    size = file.stat().st_size
    if size != known["bytes"]:
        raise ModelError(
            f"{file.name} of version {version!r} has {size} bytes instead of {known['bytes']}; "
            f"{mend}"
        )
    if file_hash(file) != known["sha256"]:
        raise ModelError(
            f"{file.name} of version {version!r} is not the file that was registered; {mend}"
        )


def _hash_of_hashes(files: dict[str, dict[str, Any]]) -> str:
    lines = "".join(f"{name} {facts['sha256']}\n" for name, facts in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _read_card(card: Path) -> Version:
    try:
        facts = json.loads(card.read_text(encoding="utf-8"))
        facts["folder"] = facts["folder"] or str(card.parent)
        if facts.get("adapter"):
            facts["adapter"] = Adapter(**facts["adapter"])
        return Version(**facts, published=published.of(card.parent))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"The card {card} is unreadable ({error}); restore or remove it."
        ) from None


def _mend(version: Version) -> str:
    if version.kind == "embedded":
        return f"remove {version.folder} and start again: it is made anew."
    return f"restore it in {version.folder}, or remove that version."


def _write_card(folder: Path, version: Version) -> None:
    facts = asdict(version)
    del facts["published"]
    write_synced(folder / "card.json", json.dumps(facts, indent=2))
