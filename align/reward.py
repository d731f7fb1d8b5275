"""Pairs and ties → an ensemble of scorers that rank answers as people do (Bradley & Terry 1952)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from align import ranks
from align.likelihood import share_of_ties, surprise, tie_width
from align.loading import SCORER, padding
from align.recipes import Reward
from align.scoring import MEMBERS
from align.training import MADE, TakesTokens, lora, train
from assistant.disk import write_synced

METRICS = "metrics.json"
EXTRA = ("tie", "margin")  # columns besides TRL's


def run(
    recipe: Reward, seed: int, base: Path, rows: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Train on token rows (prompt_ids, chosen_ids, rejected_ids, tie, margin); write to `out`.

    Each member begins with another head and sees the rows in another order (Lakshminarayanan et al.
    2017). The first lies in `out`, the others in `out/members/1` and so on.
    """
    tied = share_of_ties(rows)

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        config = RewardConfig(**arguments, center_rewards_coefficient=recipe.center)
        trainer = _Trainer(
            model,
            args=config,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora(recipe, "SEQ_CLS"),
            data_collator=Pairs(padding(tokenizer)),
        )
        model.config.get_text_config().pad_token_id = padding(tokenizer)  # TRL put its own there
        trainer.tie_width, trainer.margin = tie_width(tied), recipe.margin
        return trainer

    finished = out.parent / "finished"
    finished.mkdir(exist_ok=True)
    for member in range(0 if ranks.agreed(out.exists()) else recipe.members):
        if not ranks.agreed((finished / str(member)).exists()):  # else it was before a kill
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
    """TRL's batches of pairs, prompts put before the answers, where the ties are, and margins."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The better answers are the first half."""
        whole = [
            {side: row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")}
            for row in examples
        ]
        extra = {name: torch.tensor([row[name] for row in examples]) for name in EXTRA}
        return {**super().torch_call(whole), **extra}


class _Trainer(TakesTokens, RewardTrainer):  # type: ignore[misc]
    """TRL's reward trainer on rows of token ids, some of which are ties."""

    tie_width = 0.0
    margin = 0.0

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["prompt_ids", "chosen_ids", "rejected_ids", *EXTRA]

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The likelihood of what people said, and the pull of the scores towards 0."""
        tie, margin = (inputs.pop(name) for name in EXTRA)
        outputs = model(**inputs, use_cache=False)
        better, worse = outputs.logits.squeeze(-1).float().chunk(2)
        found = surprise(better - worse - self.margin * margin, tie, self.tie_width).mean()
        found = found + self.args.center_rewards_coefficient * ((better + worse) ** 2).mean()
        if decided := (~tie).sum().item():
            right = (better > worse)[~tie].sum().item()
            self._metrics["train"]["accuracy"].append(right / decided)
        return (found, outputs) if return_outputs else found
