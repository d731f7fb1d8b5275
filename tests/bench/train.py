"""How fast each stage trains, beside TRL's own trainer on the same rows.

`make bench-train` runs it (`ARGS=dpo` one stage); nothing else should run beside it. Every training
is a process of its own, started as its user would: ours as `align` starts itself, TRL's plainly. A
rate counts tokens without padding, prompts included, over the wall-clock seconds from loaded
weights to a trained adapter, the reference's pass included. Each turn has a seed of its own; both
ways' merged weights are asked alike what they think of pairs that nobody learnt from.
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
import torch
import trl

from align import measure, training
from align.__main__ import GENTLE
from align.data.tokens import tokenized
from align.loading import SCORER, SPEAKER
from align.merging import merge
from align.recipes import DPO, KTO, SFT, Recipe, Reward
from align.rendering import tokenizer_of
from align.scoring import Scorer
from assistant import embedded
from assistant.feedback.rows import Row
from assistant.machine import Machine
from assistant.registry import Registry
from tests.bench.hardware import hardware

SEEDS = (0, 1, 2)
PAIRS = 24
UNSEEN = 40  # where the others begin, whose text is no part of what is learnt
ANSWER_WORDS = (40, 110)
RECIPES: dict[str, Recipe] = {  # one epoch, and no anchor, which TRL's trainers do not have
    "sft": SFT(epochs=1, anchor=0),
    "dpo": DPO(epochs=1, anchor=0),
    "kto": KTO(epochs=1, anchor=0),
    "reward": Reward(epochs=1, members=1),
}
FORMS = dict.fromkeys(RECIPES, SPEAKER) | {"reward": SCORER}
SIDES = ("chosen_ids", "rejected_ids", "completion_ids")
Way = Callable[[str, int, Path, list[dict[str, Any]], Path], tuple[float, Any]]


def main() -> None:
    """Train each way in turn, several times, and print a table."""
    print(hardware("torch", "transformers", "trl", "peft"))
    print(f"one epoch each, batches of {RECIPES['dpo'].batch}, seeds {SEEDS} in turn")
    print("unseen: nats a token of the better sides (sft), by how much they gained more than the")
    print("others (dpo, kto; nats), or score higher (reward), for each seed")
    print("stage    tokens  way             tokens/s          ratio            peak GiB  unseen")
    with tempfile.TemporaryDirectory() as home:
        base = embedded.make(Registry(Path(home)), lambda _done, _total: None).path
        for stage in sys.argv[1:] or RECIPES:
            table(stage, base)


def table(stage: str, base: Path) -> None:
    """The lines of one stage."""
    seen: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for seed in SEEDS:
        for way in WAYS:
            seen[way].append(apart(stage, way, seed, base))
    stock_rates = [run["rate"] for run in seen["TRL"]]
    for way, runs in seen.items():
        rates = [run["rate"] for run in runs]
        ratios = [rate / stock for rate, stock in zip(rates, stock_rates, strict=True)]
        peak = max(run["peak"] for run in runs)
        print(
            f"{stage:8} {runs[0]['tokens']:6.0f}  {way:14}  {spread(rates, '.0f'):16}  "
            f"{spread(ratios, '.2f'):16} {peak:<8.1f}  "
            + ", ".join(f"{run['unseen']:.3f}" for run in runs),
            flush=True,
        )


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def apart(stage: str, way: str, seed: int, base: Path) -> dict[str, float]:
    """One training in a process of its own."""
    environment = dict(os.environ)
    if way != "TRL":
        environment |= GENTLE
        if allocator := Machine.this().tcmalloc:
            environment["LD_PRELOAD"] = allocator
    script = [sys.executable, "-m", __spec__.name, "--one", stage, way, str(seed), str(base)]
    told = subprocess.run(script, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def one(stage: str, way: str, seed: int, base: Path) -> dict[str, float]:
    """Train, and say how fast, how much memory it took, and what was learnt."""
    datasets.disable_progress_bars()
    rows, _ = tokenized(tokenizer_of(base), rows_of(stage), RECIPES[stage].longest)
    tokens = sum(map(read, rows))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        seconds, trained = WAYS[way](stage, seed, base, rows, folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        trained.save_pretrained(folder / "adapter")
        merge(base, folder / "adapter", folder / "merged", FORMS[stage])
        learnt = unseen(stage, base, folder / "merged")
    return {"tokens": tokens, "rate": tokens / seconds, "peak": peak, "unseen": learnt}


def unseen(stage: str, base: Path, made: Path) -> float:
    """What merged weights think of pairs that nobody learnt from, on average."""
    rows, _ = tokenized(tokenizer_of(base), pairs(UNSEEN), RECIPES[stage].longest)
    if stage == "reward":
        sides = ([row["prompt_ids"] + row[side] for row in rows] for side in SIDES[:2])
        better, worse = (Scorer(made).score_ids(texts) for texts in sides)
        return statistics.fmean(b.mean - w.mean for b, w in zip(better, worse, strict=True))
    after = measure.answer_logps(made, rows)
    if stage == "sft":
        return -sum(pair[0] for pair in after) / sum(len(row["chosen_ids"]) for row in rows)
    before = measure.answer_logps(base, rows)
    return statistics.fmean(
        (a[0] - b[0]) - (a[1] - b[1]) for b, a in zip(before, after, strict=True)
    )


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


def pairs(first: int = 0) -> list[Row]:
    """Pairs of paragraphs as answers to the questions from `first` on, as long as answers are."""
    words = " ".join(measure.plain_paragraphs()).split()
    rows = []
    for index, question in list(enumerate(measure.harm_questions()))[first : first + PAIRS]:
        lengths = (ANSWER_WORDS[0] + 7 * index % 71, ANSWER_WORDS[1] - 5 * index % 67)
        sides = [[turn("assistant", " ".join(words[index * 9 :][:length]))] for length in lengths]
        data = {"prompt": [turn("user", question)], "chosen": sides[0], "rejected": sides[1]}
        rows.append(Row(data, str(index), ()))
    return rows


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def ours(
    stage: str, seed: int, base: Path, rows: list[dict[str, Any]], folder: Path
) -> tuple[float, Any]:
    """`align`'s stage, without what comes after the training."""
    times: list[float] = []
    made: list[Any] = []
    build = training.arranged

    def begins(*given: Any) -> Any:
        times.append(time.monotonic())  # the weights are there, and nothing else is
        return build(*given)

    def ends(trained: Any, *_: Any) -> dict[str, Any]:
        times.append(time.monotonic())
        made.append(trained)
        raise StopIteration

    training.arranged, training._keep = begins, ends  # type: ignore[assignment]
    with contextlib.suppress(StopIteration):
        import_module(f"align.{stage}").run(RECIPES[stage], seed, base, rows, folder / "model")
    return times[1] - times[0], made[0]


def stock(
    stage: str, seed: int, base: Path, rows: list[dict[str, Any]], folder: Path
) -> tuple[float, Any]:
    """TRL's trainer, with its defaults but for what the recipe names."""
    recipe = RECIPES[stage]
    arguments = training.arguments(recipe, seed, folder) | {"train_sampling_strategy": "random"}
    torch.manual_seed(seed)
    model = FORMS[stage].load(base)
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
    return time.monotonic() - began, trainer.model


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
        stage, way, seed, base = sys.argv[2:]
        print(json.dumps(one(stage, way, int(seed), Path(base))))
    else:
        main()
