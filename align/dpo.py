"""Pairs → a version that prefers the better answer (DPO, Rafailov et al. 2023, eq. 7)."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from align.recipes import DPO
from align.training import TakesTokens, lora, train


def run(
    recipe: DPO, seed: int, base: Path, rows: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Train on token rows (prompt_ids, chosen_ids, rejected_ids) and write the model to `out`.

    The loss is DPO's plus `recipe.imitate` times the likelihood of the better answer (RPO, Pang et
    al. 2024), which keeps both answers from becoming unlikely together.
    """

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        config = DPOConfig(
            **arguments,
            beta=recipe.beta,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, recipe.imitate],
            precompute_ref_log_probs=True,
        )
        return _Trainer(
            model, args=config, train_dataset=dataset, processing_class=tokenizer,
            peft_config=lora(recipe),
        )  # fmt: skip

    return train(build, recipe, seed, base, rows, out)


class _Trainer(TakesTokens, DPOTrainer):  # type: ignore[misc]
    """DPO on rows of token ids."""
