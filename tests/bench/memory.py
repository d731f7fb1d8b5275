"""How near the estimated memory of a training is to what it takes.

`make bench-memory` runs it: one epoch of a few equally long rows for each stage and length, in a
process of its own, whose largest resident size is compared with the estimate.
"""

import json
import resource
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from align.estimate import GIB, Shape, needed
from align.recipes import DPO, KTO, SFT
from assistant import embedded
from assistant.registry import Registry
from tests.bench.hardware import hardware

ROWS = 8
RECIPES = {"sft": SFT(epochs=1), "dpo": DPO(epochs=1), "kto": KTO(epochs=1)}
ASKED = [(stage, length) for stage in RECIPES for length in (128, 384, 768)]


def main() -> None:
    """Print one line for each stage and length."""
    print(hardware("torch", "transformers", "trl", "peft"))
    print("stage  tokens a row   estimated GiB   taken GiB")
    with tempfile.TemporaryDirectory() as home:
        base = embedded.make(Registry(Path(home)), lambda _done, _total: None).path
        for stage, length in ASKED:
            script = [sys.executable, "-m", "tests.bench.memory", stage, str(length), str(base)]
            told = subprocess.run(script, check=True, capture_output=True, text=True).stdout
            found = json.loads(told.splitlines()[-1])
            print(f"{stage:5}  {length:12}   {found['estimated']:13.1f}   {found['taken']:9.1f}")


def one(stage: str, length: int, base: Path) -> dict[str, float]:
    """Train, and say what was estimated and taken, in GiB."""
    rows = [row(stage, length, number) for number in range(ROWS)]
    recipe = RECIPES[stage]
    with tempfile.TemporaryDirectory() as out:
        import_module(f"align.{stage}").run(recipe, 0, base, rows, Path(out) / "model")
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    estimated = needed(Shape.of(base), rows, recipe).memory
    return {"estimated": estimated / GIB, "taken": taken / GIB}


def row(stage: str, length: int, number: int) -> dict[str, Any]:
    """A row of so many tokens, a fifth of them the prompt."""
    prompt = [100 + number] * (length // 5)
    answer = [200 + number + i % 90 for i in range(length - len(prompt))]
    made: dict[str, Any] = {"length": length, "temperature": 1.0}
    if stage == "sft":
        return made | {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
    if stage == "kto":
        return made | {"prompt_ids": prompt, "completion_ids": answer, "label": number % 2 == 0}
    return made | {"prompt_ids": prompt, "chosen_ids": answer, "rejected_ids": answer[::-1]}


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(one(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main()
