"""A version of the model, as its card tells it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.errors import Invalid
from assistant.published import Published

MODERATION = "moderation"
JUDGES = ("reward", MODERATION)  # the stages whose versions do not speak


@dataclass(frozen=True)
class Adapter:
    """What is to be added to another version's weights to get a version's own."""

    of: str
    """The first version of its family."""
    of_hash: str
    rank: int
    folder: str
    """Within the version's own folder."""
    files: dict[str, dict[str, Any]]
    """As on a card."""


@dataclass(frozen=True)
class Version:
    """A model we can serve, with its card. `files` maps a name to its size and SHA-256."""

    name: str
    kind: str
    """How it came to be: embedded, folder, hub, remote, or the align stage that made it."""
    source: str
    content_hash: str
    template_hash: str
    files: dict[str, dict[str, Any]]
    folder: str
    """Where the files are; on disk "" stands for the card's own folder, so a home can be moved."""
    created_at: str
    base: str | None = None
    notes: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """Architecture, parameters, precision, licence, metrics: shown on the card."""
    adapter: Adapter | None = None
    """The same version as an adapter, for engines that serve several of one family."""
    published: Published = field(default_factory=Published)
    """In which form engines load it; noted beside the card, not on it."""

    @property
    def speaks(self) -> bool:
        """Whether one can talk to it; some versions judge answers instead."""
        return self.kind not in JUDGES

    @property
    def path(self) -> Path:
        """The folder that `from_pretrained` loads, and training starts from."""
        return Path(self.folder)

    @property
    def served(self) -> Path:
        """The folder that an engine loads."""
        return Path(self.published.folder or self.folder)


def speaking(version: Version) -> Version:
    """The version, if one can talk to it. Raises Invalid."""
    if not version.speaks:
        raise Invalid(
            f"{version.name} judges answers ({version.kind}) and gives none; it cannot be served, "
            "promoted, or trained further."
        )
    return version
