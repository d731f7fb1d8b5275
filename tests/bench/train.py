"""How fast each stage trains, beside TRL's own trainer on the same rows.

`make bench-train` runs it (`ARGS=dpo` one stage); nothing else should run beside it. Every training
is a process of its own, started as its user would: ours as `align` starts itself, TRL's plainly. A
rate counts tokens without padding, prompts included, over the wall-clock seconds from loaded
weights to a trained adapter, the reference's pass included.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import contextlib

import datasets
import trl

from align import measure, training
from align.__main__ import GENTLE
from align.data.tokens import tokenized
from align.loading import SCORER, SPEAKER
from align.recipes import DPO, KTO, SFT, Recipe, Reward
from align.rendering import tokenizer_of
from assistant import embedded
from assistant.feedback.rows import Row
from assistant.machine import Machine
from assistant.registry import Registry
from tests.bench.hardware import hardware

ROUNDS = 3
PAIRS = 24
ANSWER_WORDS = (40, 110)
RECIPES: dict[str, Recipe] = {  # one epoch, and no anchor, which TRL's trainers do not have
    "sft": SFT(epochs=1, anchor=0),
    "dpo": DPO(epochs=1, anchor=0),
    "kto": KTO(epochs=1, anchor=0),
    "reward": Reward(epochs=1, members=1),
}
SIDES = ("chosen_ids", "rejected_ids", "completion_ids")
Way = Callable[[str, Path, list[dict[str, Any]], Path], float]


def main() -> None:
    """Train each way in turn, several times, and print a table."""
    print(hardware("torch", "transformers", "trl", "peft"))
    print(f"one epoch each, batches of {RECIPES['dpo'].batch}, {ROUNDS} times in turn")
    print("stage    tokens  way             tokens/s          ratio            peak GiB")
    with tempfile.TemporaryDirectory() as home:
        base = embedded.make(Registry(Path(home)), lambda _done, _total: None).path
        for stage in sys.argv[1:] or RECIPES:
            table(stage, base)


def table(stage: str, base: Path) -> None:
    """The lines of one stage."""
    seen: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            seen[way].append(apart(stage, way, base))
    stock_rates = [run["rate"] for run in seen["TRL"]]
    for way, runs in seen.items():
        rates = [run["rate"] for run in runs]
        ratios = [rate / stock for rate, stock in zip(rates, stock_rates, strict=True)]
        peak = max(run["peak"] for run in runs)
        print(
            f"{stage:8} {runs[0]['tokens']:6.0f}  {way:14}  {spread(rates, '.0f'):16}  "
            f"{spread(ratios, '.2f'):16} {peak:.1f}",
            flush=True,
        )


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def apart(stage: str, way: str, base: Path) -> dict[str, float]:
    """One training in a process of its own."""
    environment = dict(os.environ)
    if way != "TRL":
        environment |= GENTLE
        if allocator := Machine.this().tcmalloc:
            environment["LD_PRELOAD"] = allocator
    script = [sys.executable, "-m", "tests.bench.train", "--one", stage, way, str(base)]
    told = subprocess.run(script, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def one(stage: str, way: str, base: Path) -> dict[str, float]:
    """Train, and say how fast, and how much memory it took."""
    datasets.disable_progress_bars()
    rows, _ = tokenized(tokenizer_of(base), rows_of(stage), RECIPES[stage].longest)
    tokens = sum(map(read, rows))
    with tempfile.TemporaryDirectory() as folder:
        seconds = WAYS[way](stage, base, rows, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"tokens": tokens, "rate": tokens / seconds, "peak": peak}


def read(row: dict[str, Any]) -> int:
    """The tokens of a row that a model reads, the prompt once for each side."""
    if "input_ids" in row:
        return len(row["input_ids"])
    return sum(len(row["prompt_ids"]) + len(row[side]) for side in SIDES if side in row)


def rows_of(stage: str) -> list[Row]:
    """The same paragraphs as answers, in the shape of each stage."""
    made = []
    for number, row in enumerate(pairs()):
        prompt, chosen, rejected = (row.data[name] for name in ("prompt", "chosen", "rejected"))
        if stage == "sft":
            made += [replace(row, data={"messages": prompt + side}) for side in (chosen, rejected)]
        elif stage == "kto":
            verdicts = ((chosen, True), (rejected, number % 2 == 0))
            made += [
                replace(row, data={"prompt": prompt, "completion": side, "label": label})
                for side, label in verdicts
            ]
        else:
            made.append(row)
    return made


def pairs() -> list[Row]:
    """Pairs of paragraphs as answers, of the lengths that answers have."""
    words = " ".join(measure.plain_paragraphs()).split()
    rows = []
    for index, question in enumerate(measure.harm_questions()[:PAIRS]):
        lengths = (ANSWER_WORDS[0] + 7 * index % 71, ANSWER_WORDS[1] - 5 * index % 67)
        sides = [[turn("assistant", " ".join(words[index * 9 :][:length]))] for length in lengths]
        data = {"prompt": [turn("user", question)], "chosen": sides[0], "rejected": sides[1]}
        rows.append(Row(data, str(index), ()))
    return rows


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def ours(stage: str, base: Path, rows: list[dict[str, Any]], folder: Path) -> float:
    """`align`'s stage, without what comes after the training."""
    times: list[float] = []
    build = training.arranged

    def begins(*given: Any) -> Any:
        times.append(time.monotonic())  # the weights are there, and nothing else is
        return build(*given)

    def ends(*_: Any) -> dict[str, Any]:
        times.append(time.monotonic())
        raise StopIteration

    training.arranged, training._keep = begins, ends  # type: ignore[assignment]
    with contextlib.suppress(StopIteration):
        import_module(f"align.{stage}").run(RECIPES[stage], 0, base, rows, folder / "model")
    return times[1] - times[0]


def stock(stage: str, base: Path, rows: list[dict[str, Any]], folder: Path) -> float:
    """TRL's trainer, with its defaults but for what the recipe names."""
    recipe = RECIPES[stage]
    form = SCORER if stage == "reward" else SPEAKER
    arguments = training.arguments(recipe, 0, folder) | {"train_sampling_strategy": "random"}
    model = form.load(base)
    trainer_class, config, columns = STOCK[stage]
    if stage == "reward":
        rows = [{s: r["prompt_ids"] + r[s] for s in ("chosen_ids", "rejected_ids")} for r in rows]
    given = [{name: row[name] for name in columns} for row in rows]
    began = time.monotonic()
    trainer = as_given(trainer_class)(
        model,
        args=config(arguments, recipe),
        train_dataset=datasets.Dataset.from_list(given),
        processing_class=tokenizer_of(base),
        peft_config=training.lora(recipe, "SEQ_CLS" if stage == "reward" else "CAUSAL_LM"),
    )
    trainer.train()
    return time.monotonic() - began


def as_given(trainer_class: type) -> type:
    """A trainer that takes the rows as token ids."""
    name, bases = f"Given{trainer_class.__name__}", (trainer_class,)
    return type(name, bases, {"_prepare_dataset": lambda self, dataset, *_: dataset})


def dpo_config(arguments: dict[str, Any], recipe: Any) -> Any:
    losses = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, recipe.imitate]}
    return trl.DPOConfig(**arguments, beta=recipe.beta, **losses)


def kto_config(arguments: dict[str, Any], recipe: Any) -> Any:
    return trl.KTOConfig(**arguments, beta=recipe.beta, loss_type="apo_zero_unpaired")


STOCK: dict[str, tuple[type, Callable[..., Any], tuple[str, ...]]] = {
    "sft": (trl.SFTTrainer, lambda a, _: trl.SFTConfig(**a), ("input_ids", "labels")),
    "dpo": (trl.DPOTrainer, dpo_config, ("prompt_ids", "chosen_ids", "rejected_ids")),
    "kto": (trl.KTOTrainer, kto_config, ("prompt_ids", "completion_ids", "label")),
    "reward": (
        trl.RewardTrainer,
        lambda a, r: trl.RewardConfig(**a, center_rewards_coefficient=r.center),
        ("chosen_ids", "rejected_ids"),
    ),
}
WAYS: dict[str, Way] = {"TRL": stock, "align": ours}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], sys.argv[3], Path(sys.argv[4]))))
    else:
        main()
