"""Files of rows: JSON lines, a JSON list, Parquet, CSV, plain text; compressed or in a folder."""

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assistant.errors import Invalid

MOST_IN_A_CELL = 2**31 - 1  # characters
Numbered = Iterator[tuple[int, Any]]


def raw_rows(file: Path) -> Numbered:
    """Line (or row) numbers from 1, and what stands there; undecodable lines come as None.

    Raises Invalid for a file that cannot be read as what its name says it is.
    """
    suffixes = [s for s in file.suffixes if s != ".gz"]
    read = READERS.get(suffixes[-1] if suffixes else "")
    if read is None:
        raise Invalid(
            f"{file.name} should end in {', '.join(READERS)}, so that its format is known."
        )
    try:
        raw = file.read_bytes()
        yield from read(file, gzip.decompress(raw) if file.suffix == ".gz" else raw)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise Invalid(f"Cannot read {file} ({reason}).") from error


def files_in(place: Path) -> list[Path]:
    """The file itself, or every file of a folder whose format is known, in order of names."""
    if not place.is_dir():
        return [place]
    found = sorted(file for file in place.rglob("*") if _is_known(file))
    if not found:
        raise Invalid(f"{place} holds no file that ends in {', '.join(READERS)}.")
    return found


def digest(file: Path) -> str:
    """SHA-256 of a file. Raises Invalid where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise Invalid(f"Cannot read {file} ({error.strerror}).") from error


def _is_known(file: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.parts)
    return file.is_file() and not hidden and not READERS.keys().isdisjoint(file.suffixes)


def _json(file: Path, raw: bytes) -> Numbered:
    """A list of objects, as Alpaca's and ShareGPT's files are, or an object a line."""
    if raw.lstrip()[:1] == b"[":
        try:
            yield from enumerate(json.loads(raw), start=1)
            return
        except ValueError as error:
            raise Invalid(f"{file} is not a readable JSON list: {error}.") from error
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, None


def _parquet(file: Path, raw: bytes) -> Numbered:
    try:
        yield from enumerate(pq.read_table(io.BytesIO(raw)).to_pylist(), start=1)
    except pa.ArrowException as error:
        raise Invalid(f"{file} is not a readable Parquet file: {error}.") from error


def _csv(file: Path, raw: bytes) -> Numbered:
    """The first line names the columns; an empty cell is no value."""
    csv.field_size_limit(MOST_IN_A_CELL)
    reader = csv.DictReader(io.StringIO(_text_of(file, raw), newline=""))
    try:
        for row in reader:
            named = {name: _cell(cell) for name, cell in row.items() if name is not None and cell}
            yield reader.line_num, named if None not in row else None
    except csv.Error as error:
        raise Invalid(f"{file}, line {reader.line_num}: {error}.") from error


def _cell(text: str | list[str]) -> Any:
    """Its text, or the turns, calls or tools that are written in it as JSON."""
    if not (isinstance(text, str) and text.lstrip().startswith("[{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(file: Path, raw: bytes) -> Numbered:
    """One document a file."""
    yield 1, {"text": _text_of(file, raw)}


def _text_of(file: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{file} is not UTF-8 text ({error}).") from error


READERS: dict[str, Callable[[Path, bytes], Numbered]] = {
    ".jsonl": _json,
    ".json": _json,
    ".parquet": _parquet,
    ".csv": _csv,
    ".txt": _plain,
    ".md": _plain,
}
