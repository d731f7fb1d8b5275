"""Pairs → a version that prefers the better answer (DPO, Rafailov et al. 2023, eq. 7)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from align.ends import ENDS, EVERY, Ends
from align.likelihood import share_of_ties, surprise, tie_width
from align.loading import padding
from align.recipes import DPO
from align.training import TakesTokens, lora, train
from assistant.errors import Invalid

EXTRA = {"tie": False, "weight": 1.0}  # columns besides TRL's, and what they are where absent


def run(
    recipe: DPO, seed: int, base: Path, rows: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Train on token rows (prompt_ids, chosen_ids, rejected_ids, tie, weight); write to `out`.

    The loss is that of `recipe.loss` plus `recipe.imitate` times the likelihood of the better
    answer (RPO, Pang et al. 2024), which keeps both answers from becoming unlikely together. Ties
    (`recipe.ties`) and weights (`recipe.agree`) are learnt by the sigmoid loss alone. Raises
    Invalid where they meet another loss, or where all pairs are ties.
    """
    if recipe.loss != "sigmoid" and (recipe.ties or recipe.agree):
        raise Invalid(f"--loss {recipe.loss} knows neither --ties nor --agree; sigmoid does.")
    tied = share_of_ties(rows)
    mean_weight = sum(row.get("weight", 1.0) for row in rows) / len(rows)
    rows = [row | {"weight": row.get("weight", 1.0) / mean_weight} for row in rows]

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        config = DPOConfig(
            **arguments,
            beta=recipe.beta,
            loss_type=[recipe.loss, "sft"],
            loss_weights=[1.0, recipe.imitate],
            label_smoothing=recipe.noise if recipe.loss == "robust" else 0.0,
            precompute_ref_log_probs=True,
        )
        trainer = _Trainer(
            model,
            args=config,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora(recipe),
            data_collator=Pairs(padding(tokenizer)),
        )
        trainer.tie_width = tie_width(tied)
        if recipe.rank:
            trainer.ends = Ends.of(rows, tokenizer.eos_token_id)
        trainer.weighs = any(row.get("weight", 1) != 1 for row in rows)
        return trainer

    return train(build, recipe, seed, base, rows, out)


@dataclass
class Pairs(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's batches of pairs, where the ties are, and how much each pair counts."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Two more tensors, (pairs,)."""
        extra = {
            name: torch.tensor([row.get(name, usual) for row in examples])
            for name, usual in EXTRA.items()
        }
        return {**super().torch_call(examples), **extra}


class _Trainer(TakesTokens, DPOTrainer):  # type: ignore[misc]
    """DPO on rows of token ids."""

    tie_width = 0.0
    weighs = False
    ends: Ends | None = None
    """Of what is watched; where all weights are trained, there is no base to compare with."""
    looked = -1

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [name for name in EXTRA if name not in self._signature_columns]

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        """What the base thinks; TRL would hand the model all columns."""
        given = {name: value for name, value in inputs.items() if name not in EXTRA}
        return super().compute_ref_log_probs(model, given)

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        tie, weight = (inputs.pop(name) for name in EXTRA)
        self._look(model)
        if not self.tie_width and not self.weighs:
            return super()._compute_loss(model, inputs, return_outputs)
        return self._of_judgements(model, inputs, tie, weight)

    def _look(self, model: Any) -> None:
        """Every few steps and before the last one, note how readily answers end."""
        step, last = self.state.global_step, self.state.max_steps - 1
        due = step == last or step % EVERY == EVERY - 1
        if self.ends and model.training and due and step != self.looked:
            self.looked = step
            times = self.ends.times(model, self.accelerator.unwrap_model(model))
            self._metrics["train"][ENDS].append(times)

    def _of_judgements(
        self, model: Any, inputs: Any, tie: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """TRL's sigmoid loss, with Rao and Kupper's ties (Chen et al. 2024) and weights."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        logps = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels,
            fused_lm_head=True, use_cache=False,
        ).log_probs  # fmt: skip
        better, worse = logps.sum(-1).chunk(2)
        gained = better - inputs["ref_chosen_logps"]
        lost = worse - inputs["ref_rejected_logps"]
        losses = surprise(self.beta * (gained - lost), tie, self.tie_width)
        learnt = (labels[:, 1:] != -100).chunk(2)[0] & ~tie[:, None]
        liked = logps.chunk(2)[0] * weight[:, None]
        imitated = -liked[learnt].sum() / learnt.sum().clamp(min=1)
        self._note(gained.detach(), lost.detach(), tie)
        return (weight * losses).mean() + self.loss_weights[1] * imitated

    def _note(self, gained: torch.Tensor, lost: torch.Tensor, tie: torch.Tensor) -> None:
        noted = self._metrics["train" if self.model.training else "eval"]
        if not tie.all():
            decided = self.beta * (gained - lost)[~tie]
            noted["rewards/accuracies"].append((decided > 0).float().mean().item())
            noted["rewards/margins"].append(decided.mean().item())
            noted["rewards/chosen"].append(self.beta * gained[~tie].mean().item())
