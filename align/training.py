"""What every stage shares: from a folder of weights and token rows to a merged folder of weights.

LoRA matrices are trained beside frozen weights, then added to them in float32, checked, and saved
in the weights' own precision as safetensors; the adapter is kept in `made/adapter`.
"""

import json
import math
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from align import speed
from align.progress import Progress
from align.recipes import Recipe
from align.rendering import tokenizer_of
from align.steady import MOVED, Anchored, steadied
from assistant.errors import AssistantError

MADE = "made"
CHECKPOINT_STEPS = 10
PROBE = "The quick brown fox jumps over the lazy dog. 你好, world: 1 + 1 = 2."
LOGIT_TOLERANCE = 1e-3
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.5, 1.5
CHECKPOINT_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
)
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


class TrainingFailed(AssistantError):
    """Training produced nothing that could be served; the sentence says why."""


Build = Callable[[Any, Any, Dataset, dict[str, Any]], Any]


def train(
    build: Build, recipe: Recipe, seed: int, base: Path, rows: Sequence[dict[str, Any]], out: Path
) -> dict[str, Any]:
    """Train on token rows and write a merged model folder to `out`; returns the last metrics.

    Log-probabilities are those at the rows' mean sampling temperature.

    `build(model, tokenizer, dataset, arguments)` makes TRL's trainer. Checkpoints lie in
    `out/made/checkpoints` until the end, so that the same call goes on after a kill.
    Raises TrainingFailed if the loss stops being a number or the merged weights are not the
    trained ones.
    """
    made = out / MADE
    made.mkdir(parents=True, exist_ok=True)
    checkpoints = made / "checkpoints"
    torch.manual_seed(seed)
    model = load(base)
    at_temperature(model, mean(row["temperature"] for row in rows))
    watch = _Watch(Progress(out.parent), made / "curve.jsonl", recipe.anchor)
    dataset = Dataset.from_list(arranged(rows, recipe.batch, seed))
    trainer = build(model, tokenizer_of(base), dataset, arguments(recipe, seed, checkpoints))
    trainer.anchor = recipe.anchor
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=last_whole(checkpoints))
    trainer.model.save_pretrained(made / "adapter")
    check_adapter(made / "adapter")
    kept = steadied(load(base), base, made / "adapter", recipe.drift)
    merge(base, made / "adapter", out)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return watch.summary() | {"kept": kept}


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


def load(folder: Path, dtype: Any = "auto") -> Any:
    """A version's weights, never running code that came with them."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=False
    )


def lora(recipe: Recipe) -> LoraConfig:
    """LoRA on every linear layer but the head (Hu et al. 2021), scaled by rank as usual."""
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def arguments(recipe: Recipe, seed: int, checkpoints: Path) -> dict[str, Any]:
    """What all of TRL's trainers are told."""
    fitting = range(min(recipe.micro_batch, recipe.batch), 0, -1)
    micro = next(size for size in fitting if recipe.batch % size == 0)
    return {
        "output_dir": str(checkpoints),
        "num_train_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.0,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": recipe.batch // micro,
        "max_length": None,  # long rows were left out before, and counted
        "gradient_checkpointing": False,
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),
        "seed": seed,
        "train_sampling_strategy": "sequential",  # rows come in the order of `arranged`
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": CHECKPOINT_STEPS,
        "save_total_limit": 1,
        "report_to": "none",
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
    return all((checkpoint / name).is_file() for name in CHECKPOINT_FILES)


def merge(base: Path, adapter: Path, out: Path) -> None:
    """Add an adapter to its base in float32 and save the sum beside the base's other files."""
    check_adapter(adapter)
    model = load(base)
    precision = model.dtype
    tuned = PeftModel.from_pretrained(model.float(), adapter).eval()
    probe = tokenizer_of(base)(PROBE, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = tuned(probe).logits
        merged = _merged(tuned, adapter)
        difference = (merged(probe).logits - expected).abs().max().item()
    if not difference < LOGIT_TOLERANCE:
        raise TrainingFailed(
            f"The merged weights answer otherwise than the adapter (logits differ by "
            f"{difference:.2g}); nothing was registered."
        )
    merged.to(precision).save_pretrained(out, safe_serialization=True)
    weights = {file for pattern in WEIGHTS for file in base.glob(pattern)}
    for file in base.iterdir():
        if file.is_file() and file not in weights and file.name != "card.json":
            shutil.copyfile(file, out / file.name)


def _merged(tuned: Any, adapter: Path) -> Any:
    try:
        return tuned.merge_and_unload(safe_merge=True)
    except ValueError as error:  # the sum overflows
        raise TrainingFailed(
            f"The adapter {adapter} is too large to be added to its base; train again with a "
            "smaller --learning-rate."
        ) from error


def check_adapter(adapter: Path) -> None:
    """Refuse an adapter that is missing, broken, or has learnt nothing."""
    file = adapter / "adapter_model.safetensors"
    try:
        matrices = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingFailed(f"The adapter {file} cannot be read ({error}).") from error
    if not all(bool(torch.isfinite(matrix).all()) for matrix in matrices.values()):
        raise TrainingFailed(
            f"The adapter {file} holds values that are not numbers; train again with a smaller "
            "--learning-rate."
        )
    if not any(bool(m.any()) for name, m in matrices.items() if "lora_B" in name):
        raise TrainingFailed(
            f"The adapter {file} has learnt nothing: its matrices are zero. Give it more rows, or "
            "more --epochs."
        )


class TakesTokens(Anchored):
    """Makes a TRL trainer take rows of token ids: rendering is written once, in align.rendering."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, *given: Any) -> Dataset:
        """Give the model our head before TRL's constructor computes what the base thinks."""
        speed.compact_lm_head(self.model.get_base_model())  # type: ignore[attr-defined]
        return super()._precompute_ref_logps(*given)  # type: ignore[misc]


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Writes the curve as it grows, reports progress, and stops a loss that is not a number."""

    def __init__(self, progress: Progress, curve: Path, anchor: float) -> None:
        self._progress = progress
        self._curve = curve
        self._anchor = anchor
        self._kept: list[dict[str, Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget what was logged after the checkpoint that training goes on from."""
        if self._curve.is_file():
            lines = self._curve.read_text(encoding="utf-8").splitlines()
            self._kept = [e for e in map(json.loads, lines) if e["step"] <= state.global_step]
        self._curve.write_text("".join(json.dumps(e) + "\n" for e in self._kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the numbers of one step."""
        numbers = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        if "loss" not in numbers:
            return
        if not math.isfinite(numbers["loss"]) or not math.isfinite(numbers.get("grad_norm", 0)):
            raise TrainingFailed(
                f"The loss is not a number any more at step {state.global_step}; train again with "
                "a smaller --learning-rate, or look for broken rows."
            )
        numbers["loss"] -= self._anchor * numbers.get(MOVED, 0.0)  # what is learnt, alone
        entry = {"step": state.global_step, **numbers}
        self._kept.append(entry)
        with self._curve.open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(entry) + "\n")
        self._progress.update(state.global_step, state.max_steps)

    def summary(self) -> dict[str, Any]:
        """The first and the last numbers of the curve."""
        if not self._kept:
            return {}
        first, last = self._kept[0], self._kept[-1]
        return {"steps": last["step"], "loss_first": first["loss"], "loss_last": last["loss"]} | {
            name: last[name]
            for name in ("rewards/accuracies", "rewards/margins", MOVED)
            if name in last
        }
