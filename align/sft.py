"""Good answers → a version that imitates them (supervised fine-tuning)."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from align.data.packing import side_by_side
from align.quick import documents
from align.recipes import SFT, Recipe
from align.steady import Anchored
from align.training import lora, train


def run(
    recipe: SFT, seed: int, base: Path, rows: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Train on token rows (input_ids, labels) and write the model to `out`.

    The loss is the mean negative log-likelihood of the tokens whose label is not -100.
    """
    if recipe.packing:
        rows = side_by_side(rows, recipe.longest, seed)
    return likelier(recipe, seed, base, rows, out, in_blocks=recipe.packing)


def likelier(
    recipe: Recipe, seed: int, base: Path, rows: list[dict[str, Any]], out: Path, *, in_blocks: bool
) -> dict[str, Any]:
    """Make the labels of token rows likelier; in blocks, rows stand beside each other unseen."""

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        if in_blocks:
            documents.apart(model)
        return _Trainer(
            model,
            args=SFTConfig(**arguments, padding_free=in_blocks),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora(recipe),
        )

    return train(build, recipe, seed, base, rows, out)


class _Trainer(Anchored, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, which does not forget plain text here."""
