"""Pairs and ties → an ensemble of scorers that rank answers as people do (Bradley & Terry 1952)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from align.likelihood import surprise, tie_width
from align.loading import SCORER
from align.recipes import Reward
from align.scoring import MEMBERS
from align.training import MADE, TakesTokens, lora, train
from assistant.disk import write_synced

METRICS = "metrics.json"


def run(
    recipe: Reward, seed: int, base: Path, rows: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Train on token rows (prompt_ids, chosen_ids, rejected_ids, tie); write the scorers to `out`.

    Each member begins with another head and sees the rows in another order (Lakshminarayanan et al.
    2017). The first lies in `out`, the others in `out/members/1` and so on.
    """
    tied = sum(row["tie"] for row in rows) / len(rows)

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        config = RewardConfig(**arguments, center_rewards_coefficient=recipe.center)
        trainer = _Trainer(
            model,
            args=config,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora(recipe, "SEQ_CLS"),
            data_collator=Pairs(tokenizer.pad_token_id),
        )
        trainer.tie_width = tie_width(tied)
        return trainer

    finished = out.parent / "finished"
    finished.mkdir(exist_ok=True)
    for member in range(recipe.members):  # those that were finished before a kill are kept
        if not (finished / str(member)).exists():
            place = out.parent / f"member-{member}"
            metrics = train(build, recipe, seed + member, base, rows, place, SCORER)
            write_synced(place / MADE / METRICS, json.dumps(metrics))
            place.rename(finished / str(member))
    return _together(finished, out)


def _together(finished: Path, out: Path) -> dict[str, Any]:
    """Put the members in their places; the metrics of the first."""
    if not out.exists():
        (finished / "0").rename(out)
    (out / MEMBERS).mkdir(exist_ok=True)
    for member in finished.iterdir():
        member.rename(out / MEMBERS / member.name)
    metrics: dict[str, Any] = json.loads((out / MADE / METRICS).read_text(encoding="utf-8"))
    return metrics


@dataclass
class Pairs(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's batches of pairs, prompts put before the answers, and where the ties are."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The better answers are the first half."""
        whole = [
            {side: row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")}
            for row in examples
        ]
        return {**super().torch_call(whole), "tie": torch.tensor([r["tie"] for r in examples])}


class _Trainer(TakesTokens, RewardTrainer):  # type: ignore[misc]
    """TRL's reward trainer on rows of token ids, some of which are ties."""

    tie_width = 0.0

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["prompt_ids", "chosen_ids", "rejected_ids", "tie"]

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The likelihood of what people said, and the pull of the scores towards 0."""
        tie = inputs.pop("tie")
        outputs = model(**inputs, use_cache=False)
        better, worse = outputs.logits.squeeze(-1).float().chunk(2)
        found = surprise(better - worse, tie, self.tie_width).mean()
        found = found + self.args.center_rewards_coefficient * ((better + worse) ** 2).mean()
        if decided := (~tie).sum().item():
            right = (better > worse)[~tie].sum().item()
            self._metrics["train"]["accuracy"].append(right / decided)
        return (found, outputs) if return_outputs else found
