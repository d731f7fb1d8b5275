"""Writing training rows to a file that trainers read, with a manifest beside it."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assistant.errors import Invalid
from assistant.feedback.rows import Rows, Shape, used_judgements

FORMATS = (".jsonl", ".parquet")


def write(rows: Rows, shape: Shape, file: Path) -> dict[str, Any]:
    """Write rows and `<file>.manifest.json`, both or neither; returns the manifest."""
    if file.suffix not in FORMATS:
        raise Invalid(f"{file.name} should end in .jsonl or .parquet, so that its format is known.")
    data = [row.data for row in rows.rows]
    body = _parquet(data) if file.suffix == ".parquet" else _jsonl(data)
    manifest = {
        "shape": shape,
        "rows": len(data),
        "left_out": dict(rows.left_out),
        "sha256": hashlib.sha256(body).hexdigest(),
        "written_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "judgements": used_judgements(rows.rows),
    }
    text = json.dumps(manifest, indent=2).encode()
    try:
        _write_whole({file: body, file.with_name(file.name + ".manifest.json"): text})
    except OSError as error:
        raise Invalid(f"Cannot write {file} ({error.strerror}); nothing was changed.") from error
    return manifest


def _jsonl(data: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data).encode()


def _parquet(data: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([_in_columns(row) for row in data]), sink)
    return bytes(sink.getvalue().to_pybytes())


def _in_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Tools and arguments as JSON text: as columns, each would have the keys of all the others."""
    made = {name: _flat(turns) for name, turns in row.items()}
    return made | ({"tools": json.dumps(row["tools"])} if "tools" in row else {})


def _flat(turns: Any) -> Any:
    if not isinstance(turns, list):
        return turns
    return [
        {**turn, "tool_calls": [_call(call) for call in turn["tool_calls"]]}
        if "tool_calls" in turn
        else turn
        for turn in turns
    ]


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"])}}


def _write_whole(files: dict[Path, bytes]) -> None:
    """Write every file beside its place first, then move them all."""
    scratch = {file: file.with_name(f".{file.name}.{os.getpid()}") for file in files}
    try:
        for file, body in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            with scratch[file].open("wb") as stream:
                stream.write(body)
                stream.flush()
                os.fsync(stream.fileno())
        for file in files:
            scratch[file].replace(file)
    finally:
        for left in scratch.values():
            left.unlink(missing_ok=True)
