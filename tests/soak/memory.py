"""Half an hour of sixteen clients: memory must stay where it is once everything is warm."""

import itertools
import json
import statistics
import threading
import time
from typing import Any

import httpx
import psutil

from tests.e2e.product import Product

MINUTES = 30
CLIENTS = 16
WARM_UP = 0.2  # share of the time before memory is compared
MOST_GROWTH_MIB = 30  # of the program over the rest of the time


def run(product: Product, minutes: float = MINUTES) -> dict[str, Any]:
    """Ask without a pause; look at memory every minute."""
    assert product.process is not None
    program, engine = psutil.Process(product.process.pid), product.engine()
    stop, numbers, answered = threading.Event(), itertools.count(), itertools.count()

    def client() -> None:
        with httpx.Client(base_url=product.url, timeout=120) as session:
            while not stop.is_set():
                number = next(numbers)
                body = {
                    "messages": [{"role": "user", "content": f"Say something about {number}."}],
                    "max_tokens": 64,
                    "store": number % 4 == 0,
                }
                session.post("/v1/chat/completions", json=body).raise_for_status()
                next(answered)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    seen: list[tuple[float, float]] = []
    looks = max(10, round(minutes))
    for _ in range(looks):
        time.sleep(minutes * 60 / looks)
        every = [engine, *engine.children(recursive=True)]
        seen.append((_mib([program]), _mib(every)))
        print(f"program {seen[-1][0]:.0f} MiB, engine {seen[-1][1]:.0f} MiB", flush=True)
    alive = [thread.is_alive() for thread in threads]
    stop.set()
    for thread in threads:
        thread.join(130)
    warm = seen[round(WARM_UP * looks) :]
    half = len(warm) // 2
    growth = [
        statistics.median(s[which] for s in warm[half:])
        - statistics.median(s[which] for s in warm[:half])
        for which in (0, 1)
    ]
    found = {
        "minutes": minutes,
        "answers": next(answered),
        "program_mib": round(warm[-1][0]),
        "engine_mib": round(warm[-1][1]),
        "program_growth_mib": round(growth[0], 1),
        "engine_growth_mib": round(growth[1], 1),
    }
    print(json.dumps(found))
    assert all(alive), "a client failed"
    assert growth[0] < MOST_GROWTH_MIB, found
    return found


def _mib(processes: list[psutil.Process]) -> float:
    return sum(process.memory_info().rss for process in processes) / 2**20
