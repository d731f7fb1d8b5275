"""Prompts → a version whose answers are worth more (RLOO, GRPO)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, RLOOConfig

from align import ranks
from align.recipes import RLHF
from align.rl.drawing import Engine
from align.rl.rewards import Rewards, rewards_of
from align.rl.trainers import Grpo, Rloo, as_functions
from align.sampling import CONTEXT
from align.training import MADE, lora, train
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version

WINDOW = {"rloo": 1, "grpo": 5}  # measured once a phase, or roughly, at every step
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
    guard = Guard(recipe.budget, WINDOW[recipe.method])

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        kind, config = BY_METHOD[recipe.method]
        trainer = kind(
            model,
            reward_funcs=as_functions(rewards),
            args=config(**knobs(recipe, arguments), reward_weights=rewards.weights),
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
    if not recipe.rank:
        raise Invalid("--rank 0: give 1 or more; answers are drawn from the base plus an adapter.")
    if ranks.number() > 1:
        raise Invalid("align rlhf runs in one process; start it without accelerate launch.")
    if recipe.longest > CONTEXT:
        raise Invalid(f"--longest {recipe.longest}: the engine reads {CONTEXT} tokens at most.")
    samples = recipe.phase * recipe.answers
    if recipe.answers < 2:
        raise Invalid("--answers: give 2 or more; an answer is compared with the others.")
    if prompts < recipe.phase:
        raise Invalid(
            f"There are {prompts} prompts, and a phase takes {recipe.phase}; give more, or a "
            "smaller --phase."
        )
    if samples % recipe.batch or recipe.batch % recipe.micro_batch:
        raise Invalid(
            f"--phase {recipe.phase} × --answers {recipe.answers} = {samples} answers must be "
            f"whole batches of --batch {recipe.batch}, and those whole ones of --micro-batch "
            f"{recipe.micro_batch}."
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

    def __init__(self, budget: float, window: int) -> None:
        self._budget = budget
        self._window = window
        self._left: list[float] = []  # nats by token, by step
        self._rewards: list[float] = []  # by phase

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Look at the last steps."""
        numbers = logs or {}
        if "reward" in numbers:
            self._rewards.append(float(numbers["reward"]))
        if "kl" in numbers:
            self._left.append(float(numbers["kl"]))
            control.should_training_stop |= self._stopped

    @property
    def _stopped(self) -> bool:
        recent = self._left[-self._window :]
        return len(recent) == self._window and sum(recent) / self._window > self._budget

    def told(self) -> dict[str, Any]:
        """Mean rewards of the first and the last phase, and the distance from the base."""
        if not self._rewards or not self._left:
            return {}
        rewards = {"reward_first": self._rewards[0], "reward_last": self._rewards[-1]}
        recent = self._left[-self._window :]
        stopped = {"stopped": LEFT} if self._stopped else {}
        return rewards | {"nats_from_base": sum(recent) / len(recent)} | stopped


def told(rewards: Rewards) -> dict[str, Any]:
    """What gave no reward, and why."""
    return {"without_reward": {name: dict(why) for name, why in rewards.failed.items()}}
