"""TRL's GRPO and RLOO, with answers drawn by an engine, in phases of many samples.

Between two phases the engine gets the weights as they are then. What it thought of each token it
drew corrects for where it and the trainer differ: RLOO weighs an answer by how much likelier it is
to the trainer, and GRPO leaves out one that differs too much (TRL's way).
"""

import json
import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from trl import GRPOTrainer, RLOOTrainer

from align.quality import repetition
from align.quick.head import IGNORED
from align.rl.drawing import Engine
from align.rl.guard import APART, REPEATED, RIGHT, SECONDS
from align.rl.kept import Kept
from align.rl.people import People
from align.rl.rewards import Answered, Named, Rewards
from align.steady import Anchored
from assistant.errors import Invalid

# What got no reward is counted with its reason; TRL would print whole prompts and answers.
for trl in ("rloo", "grpo"):
    logging.getLogger(f"trl.trainer.{trl}_trainer").setLevel(logging.ERROR)


ENGINE_APART = "engine_apart"  # nats by token between what it and the trainer think of answers
MOST_WEIGHT = 3.0  # TRL's for GRPO


class Phased(Anchored):
    """What both have in common; the fields are set after init."""

    engine: Engine
    rewards: Rewards
    people: People | None
    kept: Kept
    longest: int
    seed: int

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """As the server renders them: each comes with its token ids."""
        return [json.loads(prompt[-1]["ids"]) for prompt in prompts], None, {}

    def _drawn(self, prompts: Sequence[list[int]]) -> tuple[list[list[int]], list[list[float]]]:
        """One answer to each prompt, from an engine of what the model is now.

        TRL asks for each prompt as often as it wants answers, one time after the other.
        """
        trainer: Any = self
        each, model = trainer.num_generations, trainer.accelerator.unwrap_model(trainer.model)
        with self._timed("refreshing"):
            self.engine.refresh(model)
        if self.people:
            with self._timed("held out"):
                self._log(RIGHT, self.people.right(model))
        seed = random.Random(f"{self.seed} {trainer.state.global_step}").getrandbits(62)
        with self._timed("drawing"):
            found = self.engine.draw(prompts[::each], each, self.longest, seed)
        drawn = [answer for answers in found for answer in answers]
        return [answer.ids for answer in drawn], [answer.logps for answer in drawn]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **_others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Log-probabilities and entropies of answers, each (rows, logits_to_keep).

        TRL pads prompts on the left; rows go through the model without that padding.
        """
        trainer: Any = self
        found = []
        step = batch_size or len(input_ids)
        for start in range(0, len(input_ids), step):
            ids, mask = (both[start : start + step] for both in (input_ids, attention_mask))
            padded = (mask.cumsum(1) == 0).sum(1)  # on the left
            positions = torch.arange(ids.shape[1], device=ids.device)[None]
            places = positions + padded[:, None]
            there = places < ids.shape[1]
            places = places.clamp(max=ids.shape[1] - 1)
            moved_ids, moved_mask = ids.gather(1, places), mask.gather(1, places) * there
            labels = ids.masked_fill(mask == 0, IGNORED)
            labels[:, :-logits_to_keep] = IGNORED
            moved = labels.gather(1, places).masked_fill(~there, IGNORED)
            with trainer.accelerator.autocast():
                out = model(
                    input_ids=moved_ids, attention_mask=moved_mask, labels=moved,
                    fused_lm_head=True, use_cache=False,
                )  # fmt: skip
            back = positions[:, -logits_to_keep:] - padded[:, None]
            places = (back - 1).clamp(min=0)
            found.append((out.log_probs.gather(1, places), out.entropy.gather(1, places)))
        logps, entropies = (torch.cat(column) for column in zip(*found, strict=True))
        return logps, entropies, None

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids: Any
    ) -> torch.Tensor:
        """Rewards (answers, rewarders), and what was answered, kept to read.

        An answer that lacks one of them has none: TRL would add up the others as if it were zero.
        """
        trainer: Any = self
        with self._timed("rewarding"):
            rewards: torch.Tensor = super()._calculate_rewards(  # type: ignore[misc]
                inputs, prompts, completions, completion_ids
            )
        failed, given_each = self.rewards.took_failed(), rewards.tolist()
        answers = [completion[0]["content"] for completion in completions]
        lines = [
            {
                "prompt": json.loads(row["talk"]),
                "answer": answer,
                "rewards": {
                    name: None if math.isnan(number) else number
                    for name, number in zip(trainer.reward_func_names, given, strict=True)
                },
            }
            for row, answer, given in zip(inputs, answers, given_each, strict=True)
        ]
        self.kept.note(lines, failed, trainer.state.global_step)
        rewards[rewards.isnan().any(1)] = math.nan
        if bool(rewards.isnan().all()) and trainer.state.global_step == 0:
            why = "; ".join(f"{name}: {next(iter(reasons))}" for name, reasons in failed.items())
            raise Invalid(f"No answer got a reward ({why}); nothing is learnt.")
        self._log(REPEATED, fmean(repetition(answer.split()) for answer in answers))
        if (apart := self.rewards.models_apart) is not None:
            self._log(APART, apart)
        return rewards

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._log(SECONDS + part, time.monotonic() - began)

    def _log(self, name: str, value: float) -> None:
        """With the numbers of this step."""
        trainer: Any = self
        trainer._metrics["train"][name].append(value)


class Grpo(Phased, GRPOTrainer):  # type: ignore[misc]
    """GRPO (Shao et al. 2024, eq. 3), without the length bias of its average (Liu et al. 2025)."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        self.use_vllm = True  # so that what the engine thought of its tokens is corrected for
        return self._drawn(prompt_ids)


class Rloo(Phased, RLOOTrainer):  # type: ignore[misc]
    """RLOO (Ahmadian et al. 2024, eq. 7), with truncated importance weights (Ionides 2008)."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        ids, self._thought = self._drawn(prompt_ids)
        return ids

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        """What TRL makes of a phase; an answer counts by how much likelier it is to the trainer."""
        found: dict[str, Any] = super()._generate_and_score_completions(inputs)
        drawn = torch.tensor([math.fsum(logps) for logps in self._thought])
        apart = found["old_logps"] - drawn.to(found["old_logps"])
        self._log(ENGINE_APART, (apart.abs() / found["completion_mask"].sum(1)).mean().item())
        found["advantages"] = found["advantages"] * apart.exp().clamp(max=MOST_WEIGHT)
        return found


def as_functions(rewards: Rewards) -> list[Any]:
    """Rewarders as TRL wants them."""

    def function(one: Named) -> Any:
        def given(
            completions: Any, completion_ids: Any, talk: Any, facts: Any, **_: Any
        ) -> list[float | None]:
            answered = [
                Answered(json.loads(said), json.loads(fact), completion[0]["content"], len(ids))
                for said, fact, completion, ids in zip(
                    talk, facts, completions, completion_ids, strict=True
                )
            ]
            return rewards.by(one, answered)

        given.__name__ = one.name
        return given

    return [function(one) for one in rewards.named]
