"""What every stage shares: from a folder of weights and token rows to a merged folder of weights.

LoRA matrices are trained beside frozen weights, then added to them in float32, checked, and saved
in the weights' own precision as safetensors; the adapter is kept in `made/adapter`.
"""

import importlib.util
import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from align import estimate, ranks
from align.curve import Band, Clock, Watch
from align.loading import SPEAKER, Form, computes_in_bf16, load
from align.merging import check_adapter, keep_whole, merge
from align.picture import PICTURE, draw_curve
from align.progress import Progress
from align.quick.model import quicken
from align.recipes import DPO, RLHF, Recipe, Speaking
from align.rendering import tokenizer_of
from align.steady import Anchored, steadied
from assistant.errors import Invalid

MADE = "made"
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.5, 1.5
CHECKPOINT_FILES = ("optimizer.pt", "scheduler.pt", "rng_state*.pth")  # one each of several
CHECKPOINT_WEIGHTS = (  # of an adapter, or of a whole model
    ("adapter_config.json", "adapter_model.safetensors"),
    ("config.json", "model.safetensors"),
)


Build = Callable[[Any, Any, Dataset, dict[str, Any]], Any]


def train(
    build: Build,
    recipe: Recipe,
    seed: int,
    base: Path,
    rows: Sequence[dict[str, Any]],
    out: Path,
    form: Form = SPEAKER,
) -> dict[str, Any]:
    """Train on token rows and write a merged model folder to `out`; returns the last metrics.

    Of what speaks, log-probabilities are those at the rows' mean sampling temperature, and what
    moved plain text too far is scaled down.

    `build(model, tokenizer, dataset, arguments)` makes TRL's trainer. Checkpoints lie in
    `out/made/checkpoints` until the end, so that the same call goes on after a kill.
    Raises Invalid where the machine has too little memory or disk for it, and TrainingFailed if the
    loss stops being a number or the merged weights are not the trained ones.
    """
    made = out / MADE
    made.mkdir(parents=True, exist_ok=True)
    reporting(recipe, made)
    estimate.check(base, rows, recipe, out)
    checkpoints = made / "checkpoints"
    torch.manual_seed(seed)
    model = form.load(base) if recipe.rank else form.load(base, torch.float32)
    anchor = recipe.anchor if isinstance(recipe, Speaking) and recipe.rank else 0.0
    if form.speaks:
        at_temperature(model, mean(row["temperature"] for row in rows))
    watch = Watch(Progress(out.parent), made / "curve.jsonl", anchor, band(recipe))
    dataset = Dataset.from_list(arranged(rows, recipe.batch, seed))
    told = arguments(recipe, seed, checkpoints) | {"run_name": run_name(out)}
    trainer = build(model, tokenizer_of(base), dataset, told)
    quicken(trainer)
    trainer.anchor = anchor
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    if not trainer.is_fsdp_enabled:  # TRL's checkpoints of shared adapters fail
        trainer.add_callback(Clock(recipe.save_every, recipe.steps_at_once))
    trainer.train(resume_from_checkpoint=ranks.agreed(last_whole(checkpoints)))
    trained = ranks.whole(trainer, lambda: form.load(base, torch.float32))
    if ranks.follower():
        return watch.summary()
    kept = _keep(trained, recipe, base, out, form)
    draw_curve(made / "curve.jsonl", made / PICTURE)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return watch.summary() | kept


def _keep(model: Any, recipe: Recipe, base: Path, out: Path, form: Form) -> dict[str, Any]:
    """Write what was trained to `out`; returns what there is to say of it."""
    if not recipe.rank:
        keep_whole(model, base, out)
        return {}
    adapter = out / MADE / "adapter"
    model.save_pretrained(adapter)
    check_adapter(adapter)
    said = {}
    if isinstance(recipe, Speaking):
        said["kept"] = steadied(load(base), base, adapter, recipe.drift)
    merge(base, adapter, out, form)
    return said


def band(recipe: Recipe) -> Band:
    """How far a recipe lets training lead. Raises Invalid for a band that nothing stays in."""
    if isinstance(recipe, RLHF):
        return Band(exploded=math.inf)  # it goes with the rewards' size, and says nothing by itself
    if not isinstance(recipe, DPO):
        return Band()
    if recipe.stretch <= 1:
        raise Invalid(f"--stretch {recipe.stretch}: give more than 1, which is as before.")
    return Band(-recipe.floor * recipe.beta, recipe.stretch)


def run_name(out: Path) -> str:
    """What a training is called where several are looked at beside each other: `round-001.dpo`."""
    return "".join(folder.name for folder in reversed(out.parents[:2]))


def reporting(recipe: Recipe, made: Path) -> None:
    """Let TensorBoard write beside the curve; trackio has one place for all.

    Raises Invalid where the package is missing.
    """
    if recipe.report_to == "none":
        return
    if importlib.util.find_spec(recipe.report_to) is None:
        raise Invalid(
            f"--report-to {recipe.report_to} needs its package (pip install {recipe.report_to})."
        )
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(made / "tensorboard")


def arranged(rows: Sequence[dict[str, Any]], batch: int, seed: int) -> list[dict[str, Any]]:
    """Rows in batches of similar `length`, to pad little, the batches in random order.

    Rows with a `label` are mixed so that each batch holds both verdicts in proportion; a batch that
    is not full comes last.
    """
    shuffled = random.Random(seed).sample(list(rows), len(rows))
    kinds: dict[Any, list[dict[str, Any]]] = {}
    for row in sorted(shuffled, key=lambda row: row["length"]):
        kinds.setdefault(row.get("label"), []).append(row)
    placed = [(i / len(kind), row) for kind in kinds.values() for i, row in enumerate(kind)]
    ordered = [row for _, row in sorted(placed, key=lambda one: one[0])]
    batches = [ordered[i : i + batch] for i in range(0, len(ordered), batch)]
    random.Random(seed + 1).shuffle(batches)
    batches.sort(key=lambda one: len(one) < batch)
    return [row for one in batches for row in one]


def at_temperature(model: Any, temperature: float) -> None:
    """Let a model think of answers as it did when it drew them: its logits are divided by this.

    At another temperature its own answers look too likely or too unlikely to it, and learning from
    them makes it surer, or less sure, of everything: plain text, too (docs/training.md). What is
    divided is what the head reads, so that a head which caps its logits is only nearly right.
    """
    divisor = min(max(temperature, LOWEST_TEMPERATURE), HIGHEST_TEMPERATURE)
    if divisor == 1.0:
        return

    def cool(_module: Any, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state / divisor
        return output

    model.base_model.register_forward_hook(cool)


def lora(recipe: Recipe, task: str = "CAUSAL_LM") -> LoraConfig | None:
    """LoRA on every linear layer but the head (Hu et al. 2021), scaled by rank as usual.

    None where all weights are to be trained.
    """
    if not recipe.rank:
        return None
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type=task,
    )


def arguments(recipe: Recipe, seed: int, checkpoints: Path) -> dict[str, Any]:
    """What all of TRL's trainers are told."""
    batch = ranks.share_of(recipe.batch)
    micro = next(n for n in range(min(recipe.micro_batch, batch), 0, -1) if batch % n == 0)
    return {
        "output_dir": str(checkpoints),
        "num_train_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.0,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": batch // micro,
        "max_length": None,  # long rows were left out before, and counted
        "gradient_checkpointing": False,
        "bf16": computes_in_bf16(),
        "use_cpu": not torch.cuda.is_available(),
        "seed": seed,
        "train_sampling_strategy": "sequential",  # rows come in the order of `arranged`
        "logging_steps": 1,
        "save_strategy": "no",  # `Clock` says when
        "save_total_limit": 1,
        "report_to": recipe.report_to,
        "project": "align",
        "disable_tqdm": True,
    }


def last_whole(checkpoints: Path) -> str | None:
    """The latest checkpoint that was written to its end; a half-written one is removed."""
    while checkpoints.is_dir() and (latest := get_last_checkpoint(str(checkpoints))):
        if _is_whole(Path(latest)):
            return str(latest)
        shutil.rmtree(latest)
    return None


def _is_whole(checkpoint: Path) -> bool:
    """Whether nothing is missing; trainer_state.json is written last, and may be cut off itself."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return any(
        all(any(checkpoint.glob(name)) for name in (*CHECKPOINT_FILES, *weights))
        for weights in CHECKPOINT_WEIGHTS
    )


class TakesTokens(Anchored):
    """Makes a TRL trainer take rows of token ids: rendering is written once, in align.rendering."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *given: Any) -> Dataset:
        """Make the model quick before TRL's constructor computes what the base thinks.

        TRL lets the first process write that to a file that all read, which datasets would put into
        a folder that each process has of its own.
        """
        quicken(self)
        with tempfile.TemporaryDirectory() as own:
            shared = ranks.agreed(own)
            dataset._get_cache_file_path = lambda fingerprint: f"{shared}/{fingerprint}.arrow"
            found: Dataset = super()._precompute_ref_logps(dataset, *given)  # type: ignore[misc]
            trainer: Any = self
            trainer.accelerator.wait_for_everyone()  # all have opened it
        return found
