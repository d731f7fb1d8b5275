"""How fast a stage trains, beside TRL's own trainer on the same rows.

`make bench-train` runs it; nothing else should run beside it. A rate counts tokens without padding,
prompts included, over the wall-clock seconds of training, the reference's pass included.
"""

import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import datasets
from trl import DPOConfig, DPOTrainer

from align import dpo, measure, training
from align.data.tokens import tokenized
from align.loading import load
from align.recipes import DPO
from align.rendering import tokenizer_of
from assistant import embedded
from assistant.feedback.rows import Row
from assistant.registry import Registry
from tests.bench.hardware import hardware

ROUNDS = 3
PAIRS = 24
ANSWER_WORDS = (40, 110)
RECIPE = DPO(epochs=1, anchor=0)  # TRL's trainer has no anchor


def main() -> None:
    """Train each way in turn, several times, and print the rates."""
    datasets.disable_progress_bars()
    print(hardware("torch", "transformers", "trl", "peft"))
    with tempfile.TemporaryDirectory() as home:
        base = embedded.make(Registry(Path(home)), lambda _done, _total: None).path
        rows, _ = tokenized(tokenizer_of(base), pairs(), RECIPE.longest)
        tokens = sum(
            2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in rows
        )
        print(f"{len(rows)} pairs, {tokens} tokens, one epoch of DPO")
        rates: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(ROUNDS):
            for name, train in WAYS.items():
                rates[name].append(tokens / train(base, rows, Path(tempfile.mkdtemp(dir=home))))
    for name, found in rates.items():
        spread = f"{min(found):.0f} to {max(found):.0f}"
        print(f"{name:14} {statistics.median(found):6.0f} tokens/s ({spread})")


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


def ours(base: Path, rows: list[dict[str, Any]], folder: Path, recipe: DPO = RECIPE) -> float:
    """Seconds of `align dpo` from loaded weights to a trained adapter."""
    loaded: list[float] = []
    cool, merge = training.at_temperature, training.merge

    def noted(model: Any, temperature: float) -> None:
        loaded.append(time.monotonic())  # the weights are there, and nothing else is
        cool(model, temperature)

    training.at_temperature, training.merge = noted, lambda *_: None
    try:
        dpo.run(recipe, 0, base, rows, folder / "model")
    finally:
        training.at_temperature, training.merge = cool, merge
    return time.monotonic() - loaded[0]


def stock(base: Path, rows: list[dict[str, Any]], folder: Path) -> float:
    """The same seconds of TRL's trainer, with its defaults but for what the recipe names."""
    arguments = training.arguments(RECIPE, 0, folder) | {"train_sampling_strategy": "random"}
    config = DPOConfig(
        **arguments, beta=RECIPE.beta, loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, RECIPE.imitate],
    )  # fmt: skip
    model = load(base)
    began = time.monotonic()
    trainer = _Stock(
        model, args=config, train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer_of(base), peft_config=training.lora(RECIPE),
    )  # fmt: skip
    trainer.train()
    return time.monotonic() - began


class _Stock(DPOTrainer):
    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


WAYS = {
    "TRL's trainer": stock,
    "align dpo": ours,
    "anchored": partial(ours, recipe=DPO(epochs=1)),
}


if __name__ == "__main__":
    sys.exit(main())
