"""Answers called good or bad → a version that does more of one, less of the other (KTO)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from align.recipes import KTO
from align.training import TakesTokens, lora, train
from assistant.errors import Invalid


def run(
    recipe: KTO, seed: int, base: Path, rows: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Train on token rows (prompt_ids, completion_ids, label) and write the model to `out`.

    The loss is KTO's without its estimate of the divergence, which costs two more passes for every
    row (APO-zero for single answers, D'Oosterlinck et al. 2024); the rarer verdict weighs as much
    in all as the commoner one (Ethayarajh et al. 2024, eq. 8).
    """
    if len(rows) >= recipe.enough:
        recipe = replace(recipe, epochs=1)
    ups = sum(row["label"] for row in rows)
    downs = len(rows) - ups
    if not ups or not downs:
        raise Invalid(
            f"All {len(rows)} answers that are left are called {'good' if ups else 'bad'}; KTO "
            "compares good and bad."
        )

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        config = KTOConfig(
            **arguments,
            beta=recipe.beta,
            loss_type="apo_zero_unpaired",
            desirable_weight=max(1.0, downs / max(1, ups)),
            undesirable_weight=max(1.0, ups / max(1, downs)),
            precompute_ref_log_probs=True,
        )
        return _Trainer(
            model, args=config, train_dataset=dataset, processing_class=tokenizer,
            peft_config=lora(recipe),
        )  # fmt: skip

    return train(build, recipe, seed, base, rows, out) | {"epochs": recipe.epochs}


class _Trainer(TakesTokens, KTOTrainer):  # type: ignore[misc]
    """KTO on rows of token ids."""

    def log(self, *args: Any, **kwargs: Any) -> None:
        """All but the divergence, which this loss does not estimate: TRL logs a zero for it."""
        for metrics in self._metrics.values():
            metrics.pop("kl", None)
        super().log(*args, **kwargs)
