"""Prompts → a version whose answers are worth more (RLOO, GRPO)."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, RLOOConfig

from align import ranks
from align.data.gathering import gather
from align.data.tokens import tokenized
from align.possible import require_possible
from align.recipes import RLHF
from align.rendering import tokenizer_of
from align.rl.drawing import Engine
from align.rl.guard import Bounds, Guard
from align.rl.kept import Kept
from align.rl.people import People
from align.rl.rewards import require_facts, rewards_of
from align.rl.trainers import Grpo, Rloo, as_functions
from align.sampling import CONTEXT
from align.training import MADE, lora, train
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version

WINDOW = {"rloo": 1, "grpo": 5}  # measured once a phase, or roughly, at every step
MOST_HELD_OUT, LEAST_HELD_OUT = 64, 8  # pairs, which are read before every phase
HELD_OUT = 0.1  # of the prompts, where only those were judged that are to be learnt from
LEARNT = "of a prompt that is learnt from"
MORE = f"more than {MOST_HELD_OUT}"


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
    require_facts(rewards, [row.get("facts", {}) for row in rows])
    people, left_out, rows = held_out(recipe, base, rows, seed, settings)
    require_fitting(recipe, len(rows))
    engine = Engine(version, out.parent / "engine", settings.home)
    kept = Kept(out / MADE)
    guard = Guard(bounds(recipe, people))

    def build(model: Any, tokenizer: Any, dataset: Dataset, arguments: dict[str, Any]) -> Any:
        kind, config = BY_METHOD[recipe.method]
        trainer = kind(
            model,
            reward_funcs=as_functions(rewards),
            args=config(**knobs(recipe, arguments), reward_weights=rewards.weights),
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=lora(recipe),
            callbacks=[guard, kept],
        )
        trainer.engine, trainer.rewards, trainer.people = engine, rewards, people
        trainer.kept, trainer.longest, trainer.seed = kept, recipe.answer_tokens, seed
        return trainer

    try:
        metrics = train(build, recipe, seed, base, as_trl(rows, recipe.answer_tokens), out)
    finally:
        engine.stop()
    told = {
        "prompts": len(rows),
        "not_asked": len(rows) % recipe.phase,  # by epoch: phases are whole
        "without_reward": kept.without_reward(),
        "held_out_left_out": dict(left_out),
    }
    return metrics | guard.told() | told


def held_out(
    recipe: RLHF, base: Path, rows: list[dict[str, Any]], seed: int, settings: Settings
) -> tuple[People | None, Counter[str], list[dict[str, Any]]]:
    """The pairs that tell whether people still agree, what was left out of them, and the prompts.

    Where too few pairs have prompts of their own, some prompts are not learnt from. Raises Invalid
    where pairs were asked for and there are too few to tell anything.
    """
    if recipe.held_out is None:
        return None, Counter(), rows
    found = gather("preference", recipe.held_out, settings.database)
    pairs, too_long = tokenized(tokenizer_of(base), found.rows, recipe.longest)
    learnt = {tuple(row["prompt_ids"]) for row in rows}
    unseen = [pair for pair in pairs if tuple(pair["prompt_ids"]) not in learnt]
    if len(unseen) < LEAST_HELD_OUT:
        judged = sorted({tuple(pair["prompt_ids"]) for pair in pairs} & learnt)
        number = min(len(judged), max(LEAST_HELD_OUT, round(HELD_OUT * len(rows))))
        learnt -= set(random.Random(seed).sample(judged, number))
        unseen = [pair for pair in pairs if tuple(pair["prompt_ids"]) not in learnt]
    drawn = random.Random(seed).sample(unseen, min(MOST_HELD_OUT, len(unseen)))
    others = {LEARNT: len(pairs) - len(unseen), MORE: len(unseen) - len(drawn)}
    left_out = found.left_out + too_long + Counter(others)
    if len(drawn) < LEAST_HELD_OUT:
        told = ", ".join(f"{number} {why}" for why, number in left_out.items()) or "no other given"
        raise Invalid(
            f"--held-out {recipe.held_out}: {len(drawn)} pairs are left, and {LEAST_HELD_OUT} are "
            f"needed to tell anything ({told})."
        )
    return People(drawn), left_out, [row for row in rows if tuple(row["prompt_ids"]) in learnt]


def bounds(recipe: RLHF, people: People | None) -> Bounds:
    """Where training stops."""
    pairs = len(people.pairs) if people else 0
    window = WINDOW[recipe.method]
    return Bounds(recipe.budget, window, recipe.apart, recipe.longer, recipe.repeats, pairs)


def require_fitting(recipe: RLHF, prompts: int) -> None:
    """Raises Invalid where phases, batches and answers do not divide."""
    require_possible(recipe)
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

    Rewarders are given the prompt as the row has it (`talk`), calls of tools included.

    `answer` is the length in tokens that an answer may have, counted for memory.
    """
    made = []
    for row in rows:
        *before, last = row["prompt"]
        turns = [{"role": t["role"], "content": t["content"] or "", "ids": ""} for t in before]
        ids = json.dumps(row["prompt_ids"])
        turns.append({"role": last["role"], "content": last["content"], "ids": ids})
        given = {"talk": json.dumps(row["prompt"]), "facts": json.dumps(row.get("facts", {}))}
        longest = row["length"] + answer
        made.append({"prompt": turns, **given, "length": longest, "temperature": 1.0})
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
