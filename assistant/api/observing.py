"""What operators see of requests: a line in the log, numbers, and a span; never what was said."""

import json
import logging
import logging.handlers
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from assistant.api.notes import Note
from assistant.metrics import Metrics
from assistant.tracing import Tracing

LOG_BYTES = 10_000_000
LOG_FILES = 5
UNKNOWN = "(unknown)"  # so that guessed paths make no series of their own


class Observer:
    """Notes each request of the API once it is over."""

    def __init__(self, metrics: Metrics, log: logging.Logger, tracing: Tracing) -> None:
        self.metrics = metrics
        self._log = log
        self._tracing = tracing

    @contextmanager
    def request(self, note: Note, headers: Mapping[str, str]) -> Iterator[None]:
        """Around the serving of one request."""
        with self._tracing.request(f"{note.method} {note.path}", headers) as span:
            try:
                yield
            finally:
                self._count(note)
                line = _line(note)
                span.update(line)
                self._log.info(json.dumps(line))

    def stop(self) -> None:
        """Write and send what is left."""
        self._tracing.stop()
        for handler in self._log.handlers:
            handler.close()

    def _count(self, note: Note) -> None:
        route = note.route or UNKNOWN
        self.metrics.requests.labels(route, note.method, note.status).inc()
        if note.answering_after is not None:
            self.metrics.answering.labels(route).observe(note.answering_after)
        if note.used:
            self.metrics.lasting.labels(route).observe(note.seconds)
            for kind in ("prompt", "completion"):
                amount = getattr(note.used, f"{kind}_tokens")
                self.metrics.tokens.labels(note.version, kind).inc(amount)


def request_log(where: Literal["file", "stdout", "off"], folder: Path) -> logging.Logger:
    """The log of requests, one JSON object a line; files are private, and replaced in turn."""
    log = logging.Logger("assistant.requests", logging.INFO)
    handler: logging.Handler = logging.NullHandler()
    if where == "file":
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / "requests.jsonl"
        handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8"
        )
    if where == "stdout":
        handler = logging.StreamHandler(sys.stdout)
    log.addHandler(handler)
    return log


def _line(note: Note) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "id": note.id,
        "method": note.method,
        "route": note.route or UNKNOWN,
        "status": note.status,
        "who": note.who,
        "version": note.version,
        "ms": round(note.seconds * 1000),
    }
    if note.answering_after is not None:
        line["ms_until_answer"] = round(note.answering_after * 1000)
    if note.used:
        line |= {
            "prompt_tokens": note.used.prompt_tokens,
            "completion_tokens": note.used.completion_tokens,
            "finished": note.used.finished,
        }
    return line
