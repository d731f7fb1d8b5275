"""The texts people edit: system prompts, the chat template, notices; all in `prompts/`."""

import hashlib
import string
from pathlib import Path

from assistant.errors import Invalid

FOLDER = Path(__file__).resolve().parents[1] / "prompts"
TEMPLATE_FILE = FOLDER / "chat_template.jinja"


def load(name: str, /, **values: str) -> str:
    """The text of prompts/NAME with its $placeholders filled; a missing value is an error."""
    file = FOLDER / name
    if not file.is_file():
        known = ", ".join(sorted(f.name for f in FOLDER.iterdir()))
        raise Invalid(f"There is no prompt {name!r} in prompts/ (there are: {known}).")
    text = file.read_text(encoding="utf-8").strip()
    return string.Template(text).substitute(values) if values else text


def text_hash(text: str) -> str:
    """Short SHA-256 of a text, for provenance: 16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
