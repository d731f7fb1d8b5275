"""How long a whole stage takes: from the command to weights that can be served.

`make bench-whole` runs it; nothing else should run beside it. 200 pairs are learnt by DPO, once,
by `align dpo` (which also estimates memory, checks that plain text stays likely and that the merged
weights are the trained ones, and registers a version) and by a script of TRL's trainer that loads,
trains, merges and saves.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from align import measure, training
from align.loading import load
from align.recipes import DPO
from align.rendering import tokenizer_of
from assistant import embedded
from assistant.registry import Registry
from tests.bench import train
from tests.bench.hardware import hardware

ROUNDS = 2
PAIRS = 200
RECIPE = DPO(epochs=1, anchor=0)


def main() -> None:
    """Each way in turn, several times."""
    print(hardware("torch", "transformers", "trl", "peft"))
    seen: dict[str, list[float]] = {"TRL": [], "align": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = embedded.make(Registry(folder / "home"), lambda _done, _total: None).path
        Registry(folder / "home").promote(base.name)
        file = folder / "pairs.jsonl"
        file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs()))
        for number in range(ROUNDS):
            seen["TRL"].append(seconds([__spec__.name, str(base), str(file), f"{folder}/{number}"]))
            name = f"whole-{number}"
            flags = ["--data", str(file), "--name", name, "--epochs", "1", "--anchor", "0"]
            seen["align"].append(
                seconds(["align", "dpo", *flags], ASSISTANT_HOME=str(folder / "home"))
            )
    for way, times in seen.items():
        print(f"{way:6} {statistics.median(times):5.0f} s ({min(times):.0f}–{max(times):.0f})")
    ratios = [stock / ours for stock, ours in zip(seen["TRL"], seen["align"], strict=True)]
    print(f"{PAIRS} pairs, {ROUNDS} times in turn: {train.spread(ratios, '.2f')} ×")


def pairs() -> list[dict[str, list[dict[str, str]]]]:
    """Pairs of paragraphs as answers, of the lengths that answers have."""
    words = " ".join(measure.plain_paragraphs()).split()
    questions, made = measure.harm_questions(), []
    low, high = train.ANSWER_WORDS
    for number in range(PAIRS):
        question = f"{questions[number % len(questions)]} ({number})"
        start = number * 9 % (len(words) - high - 1)
        better = words[start:][: low + 7 * number % 71]
        worse = words[start + 1 :][: high - 5 * number % 67]
        made.append({"prompt": question, "chosen": " ".join(better), "rejected": " ".join(worse)})
    return made


def seconds(module: list[str], **environment: str) -> float:
    """How long `python -m …` takes; where it fails, its complaints end this program."""
    began = time.monotonic()
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return time.monotonic() - began


def stock(base: Path, file: Path, out: Path) -> None:
    """TRL's trainer, with its defaults but for what the recipe names."""
    from datasets import load_dataset  # noqa: PLC0415 - as such a script would
    from trl import DPOTrainer  # noqa: PLC0415

    arguments = training.arguments(RECIPE, 0, out / "checkpoints")
    trainer = DPOTrainer(
        load(base),
        args=train.dpo_config(arguments | {"train_sampling_strategy": "random"}, RECIPE),
        train_dataset=load_dataset("json", data_files=str(file), split="train"),
        processing_class=tokenizer_of(base),
        peft_config=training.lora(RECIPE),
    )
    trainer.train()
    trainer.model.merge_and_unload().save_pretrained(out)
    tokenizer_of(base).save_pretrained(out)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        stock(*map(Path, sys.argv[1:]))
    else:
        main()
