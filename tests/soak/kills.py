"""Kills the program or its engine again and again, while programs chat and judge.

Every judgement that was answered with 201 must be there in the end, once, whole. What was answered
is written down before the next request, so that an interrupted run goes on where it was.
"""

import contextlib
import json
import os
import random
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.product import Product, running

KILLS = 50
CLIENTS = 6
CALM = (1.0, 8.0)  # seconds between two kills
WORDS = ("rivers", "bridges", "bread", "clocks", "maps", "glass", "birds", "letters", "salt")


class Acknowledged:
    """The judgements that were answered with 201, on disk before anything else is asked."""

    def __init__(self, file: Path) -> None:
        self._stream = file.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def note(self, judgement: str, completion: str) -> None:
        with self._lock:
            self._stream.write(json.dumps([judgement, completion]) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())


def run(folder: Path, kills: int = KILLS) -> dict[str, Any]:
    """All that is left of the kills, then the check."""
    folder.mkdir(parents=True, exist_ok=True)
    acknowledged = Acknowledged(folder / "acknowledged.jsonl")
    done = folder / "kills"
    dice = random.Random(len(_lines(done)))
    with running(folder) as product:
        while len(_lines(done)) < kills:
            product.wait_until_ready()
            which = dice.choice(("app", "engine"))
            _kill(product, which, acknowledged, dice.uniform(*CALM))
            with done.open("a", encoding="utf-8") as stream:
                stream.write(f"{which}\n")
            print(f"{len(_lines(done))} of {kills} kills, the last one of the {which}", flush=True)
        product.wait_until_ready()
    found = check(folder)
    print(json.dumps(found))
    return found


def _kill(product: Product, which: str, acknowledged: Acknowledged, calm: float) -> None:
    stop = threading.Event()
    threads = [
        threading.Thread(target=_use, args=(product.url, acknowledged, stop, number))
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(calm)
    if which == "app":
        product.kill()
    else:
        with contextlib.suppress(LookupError):
            product.engine().kill()
        time.sleep(1)  # the program goes on: judgements are still taken
    stop.set()
    for thread in threads:
        thread.join()
    if which == "app":
        product.start()
    else:
        product.wait_for_page()
        _until_noticed(product)


def _until_noticed(product: Product) -> None:
    """Wait until the program knows that its engine is gone, or has it back already."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        if httpx.get(f"{product.url}/readyz").status_code == 503:
            return
        time.sleep(0.1)


def _use(url: str, acknowledged: Acknowledged, stop: threading.Event, number: int) -> None:
    """Chat and judge until told to stop, whatever fails."""
    dice = random.Random(number)
    with httpx.Client(base_url=url, timeout=30) as client:
        while not stop.is_set():
            with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                about = f"Tell me about {dice.choice(WORDS)}."
                asked = {"messages": [{"role": "user", "content": about}], "max_tokens": 12}
                made = client.post("/v1/chat/completions", json=asked | {"store": True}).json()
                rating = dice.choice(("up", "down"))
                given = {"completion_id": made["id"], "rating": rating}
                answered = client.post("/v1/feedback", json=given)
                if answered.status_code == 201:
                    acknowledged.note(answered.json()["id"], made["id"])


def check(folder: Path) -> dict[str, Any]:
    """Compare what was acknowledged with what is stored. Raises AssertionError."""
    known = [json.loads(line) for line in _lines(folder / "acknowledged.jsonl")]
    with sqlite3.connect(folder / "home" / "feedback.db") as database:

        def count(query: str) -> int:
            return int(database.execute(query).fetchone()[0])

        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = dict(
            database.execute(
                "SELECT judged.judgement_id, generation.completion_id FROM judged "
                "JOIN generation ON generation.message_id = judged.message_id"
            ).fetchall()
        )
        half = count(
            "SELECT count(*) FROM judgement WHERE kind = 'thumb' AND "
            "id NOT IN (SELECT judgement_id FROM judged)"
        ) + count(
            "SELECT count(*) FROM completion WHERE id NOT IN "
            "(SELECT completion_id FROM generation WHERE completion_id IS NOT NULL)"
        )
        judgements = count("SELECT count(*) FROM judgement")
    missing = [judgement for judgement, completion in known if stored.get(judgement) != completion]
    assert not missing, f"{len(missing)} acknowledged judgements are not there: {missing[:5]}"
    assert len({judgement for judgement, _ in known}) == len(known), "one was acknowledged twice"
    assert half == 0, f"{half} records are half there"
    return {"acknowledged": len(known), "stored": judgements, "missing": 0, "half": 0}


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
