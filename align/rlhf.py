"""Prompts → a version whose answers are worth more (RLOO, GRPO)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, RLOOConfig

from align.recipes import RLHF
from align.rl.drawing import Engine
from align.rl.rewards import Rewards, rewards_of
from align.rl.trainers import Grpo, Rloo, as_functions
from align.training import MADE, lora, train
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version

RECENT = 5  # steps whose mean is compared with the budget
LEFT = "it left the base as far as it may"


def run(
    recipe: RLHF,
    seed: int,
    base: Path,
    rows: list[dict[str, Any]],
    out: Path,
    *,
    version: Version,
    settings: Settings,
) -> dict[str, Any]:
    """Train on prompts (prompt_ids, prompt, facts), and write the model to `out`.

    Raises Invalid for a recipe that does not fit together, or too few prompts.
    """
    rewards = rewards_of(recipe.reward, Registry(settings.home))
    require_fitting(recipe, len(rows))
    samples = out / MADE / "samples.jsonl"
    engine = Engine(version, out.parent / "engine", settings.home)
    guard = Guard(recipe.budget)

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        kind, config = BY_METHOD[recipe.method]
        trainer = kind(
            model,
            reward_funcs=as_functions(rewards),
            args=config(**knobs(recipe, arguments)),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora(recipe),
            callbacks=[guard],
        )
        trainer.engine, trainer.rewards, trainer.samples = engine, rewards, samples
        trainer.longest, trainer.seed = recipe.answer_tokens, seed
        return trainer

    try:
        metrics = train(build, recipe, seed, base, as_trl(rows, recipe.answer_tokens), out)
    finally:
        engine.stop()
    return metrics | guard.told() | told(rewards)


def require_fitting(recipe: RLHF, prompts: int) -> None:
    """Raises Invalid where phases, batches and answers do not divide."""
    samples = recipe.phase * recipe.answers
    if recipe.answers < 2:
        raise Invalid("--answers: give 2 or more; an answer is compared with the others.")
    if samples % recipe.batch or recipe.batch % recipe.micro_batch:
        raise Invalid(
            f"--phase {recipe.phase} × --answers {recipe.answers} = {samples} answers must be "
            f"whole batches of --batch {recipe.batch}, and those whole ones of --micro-batch "
            f"{recipe.micro_batch}."
        )
    if prompts < recipe.phase:
        raise Invalid(
            f"There are {prompts} prompts, and a phase takes {recipe.phase}; give more, or a "
            "smaller --phase."
        )


def as_trl(rows: list[dict[str, Any]], answer: int) -> list[dict[str, Any]]:
    """Rows as TRL's trainers take them; the last turn carries the prompt's token ids.

    `answer` is the length in tokens that an answer may have, counted for memory.
    """
    made = []
    for row in rows:
        *before, last = row["prompt"]
        turns = [{"role": t["role"], "content": t["content"], "ids": ""} for t in before]
        turns.append(
            {"role": last["role"], "content": last["content"], "ids": json.dumps(row["prompt_ids"])}
        )
        facts = json.dumps(row.get("facts", {}))
        made.append(
            {"prompt": turns, "facts": facts, "length": row["length"] + answer, "temperature": 1.0}
        )
    return made


def knobs(recipe: RLHF, arguments: dict[str, Any]) -> dict[str, Any]:
    """What both of TRL's trainers are told."""
    micro = recipe.micro_batch
    known = {name: value for name, value in arguments.items() if name != "max_length"}
    return known | {
        "train_sampling_strategy": "random",
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": recipe.batch // micro,
        "steps_per_generation": recipe.phase * recipe.answers // micro,
        "num_generations": recipe.answers,
        "max_completion_length": recipe.answer_tokens,
        "beta": recipe.beta,
        "temperature": 1.0,
        "shuffle_dataset": True,
    }


BY_METHOD: dict[str, tuple[type, Callable[..., Any]]] = {
    "rloo": (Rloo, RLOOConfig),
    "grpo": (Grpo, GRPOConfig),
}


class Guard(TrainerCallback):  # type: ignore[misc]
    """Watches how far the model left its base, and stops it there."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._curve: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Look at the last steps."""
        if not logs or "kl" not in logs or "reward" not in logs:
            return
        self._curve.append({name: float(logs[name]) for name in ("kl", "reward")})
        recent = [one["kl"] for one in self._curve[-RECENT:]]
        if len(recent) == RECENT and sum(recent) / RECENT > self._budget:
            control.should_training_stop = True
            self._stopped = True

    _stopped = False

    def told(self) -> dict[str, Any]:
        """Rewards and distance from the base, first and last."""
        if not self._curve:
            return {}
        first, last = self._curve[:RECENT], self._curve[-RECENT:]
        means = {
            f"{name}_{when}": sum(one[name] for one in part) / len(part)
            for when, part in (("first", first), ("last", last))
            for name in ("reward", "kl")
        }
        return means | ({"stopped": LEFT} if self._stopped else {})


def told(rewards: Rewards) -> dict[str, Any]:
    """What gave no reward, and why."""
    return {"without_reward": {name: dict(why) for name, why in rewards.failed.items()}}
