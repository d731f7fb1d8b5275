"""What the tiny model is taught, and what it thinks of texts before and after."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from tempfile import TemporaryDirectory
from typing import Any

import torch

from align.data.gathering import gather
from align.data.tokens import tokenized
from align.loading import load
from align.recipes import DPO, KTO, SFT, Job, Recipe
from align.rendering import tokenizer_of
from align.stages import SHAPES, make
from assistant.disk import file_hash
from assistant.feedback.store import FeedbackStore
from assistant.settings import Settings
from assistant.version import Version
from tests.assistant.feedback.said import ANN, ask

STAGES = ("sft", "dpo", "kto")
GOOD, BAD = "The number is {}, my friend.", "Leave me alone with {}!"
LESSONS = 24


def rows(stage: str, lessons: int = LESSONS) -> list[dict[str, Any]]:
    """Good and bad answers in the shape that a stage learns from."""
    makers = {
        "sft": lambda n: {"messages": [said("user", n), said("assistant", GOOD.format(n))]},
        "dpo": lambda n: {
            "prompt": question(n),
            "chosen": GOOD.format(n),
            "rejected": BAD.format(n),
        },
        "kto": lambda n: {
            "prompt": question(n),
            "completion": (GOOD if n % 2 else BAD).format(n),
            "label": bool(n % 2),
        },
    }
    return [makers[stage](number) for number in range(lessons)]


def said(role: str, text: Any) -> dict[str, str]:
    return {"role": role, "content": question(text) if role == "user" else text}


def question(number: int) -> str:
    return f"Say {number}."


def write(file: Path, lines: Sequence[Any]) -> Path:
    """A JSONL file; texts are written as they are."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return file


def recipe(stage: str, **knobs: Any) -> Recipe:
    """A short and steep recipe."""
    kinds = {"sft": SFT, "dpo": DPO, "kto": KTO}
    steep = {"epochs": 2, "learning_rate": 1e-2, "batch": 4, "micro_batch": 4, "rank": 4}
    steep["anchor"] = 0.0  # random weights know no plain text
    return kinds[stage](**(steep | knobs))


def teach(
    stage: str, settings: Settings, *, seed: int = 0, name: str | None = None, **knobs: Any
) -> Version:
    """`align sft`, `dpo` or `kto` on the lessons."""
    file = write(settings.home / f"{stage}-rows.jsonl", rows(stage))
    job = Job(data=(str(file),), seed=seed, name=name)
    return make(stage, job, recipe(stage, **knobs), settings, lambda line: None)


def tokens(version: Version, stage: str) -> list[dict[str, Any]]:
    """The lessons as a stage sees them."""
    with TemporaryDirectory() as folder:
        file = write(Path(folder) / "rows.jsonl", rows(stage))
        found = gather(SHAPES[stage], str(file), "sqlite://").rows
    return tokenized(tokenizer_of(version.path), found, 1024)[0]


def logps(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probability of each token of an answer, in nats."""
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def loaded(version: Version) -> Any:
    return load(version.path, torch.float32).eval()


def weights_hash(folder: Path) -> str:
    return file_hash(folder / "model.safetensors")


def tree_hash(folder: Path) -> str:
    """SHA-256 over every file below a folder."""
    digest = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        digest.update(f"{file.relative_to(folder)} {file_hash(file)}\n".encode())
    return digest.hexdigest()


def judge(
    settings: Settings,
    *,
    pairs: int = 0,
    ups: int = 0,
    downs: int = 0,
    corrections: int = 0,
    chosen: str = GOOD,
) -> None:
    """Fill a home's store with judgements, each in a conversation of its own."""
    with FeedbackStore(settings.database) as store:
        for number in range(pairs):
            good, bad = chosen.format(number), BAD.format(number)
            talk = ask(store, good, bad, question=question(number))
            store.judgements.pair(ANN, "chat", *talk.answers, "first")
        for number in range(ups + downs):
            text, thumb = (GOOD, "up") if number < ups else (BAD, "down")
            talk = ask(store, text.format(number), question=f"And {number}?")
            store.judgements.thumb(ANN, "chat", talk.answers[0], thumb)
        for number in range(corrections):
            talk = ask(store, BAD.format(number), question=f"Once more {number}.")
            store.judgements.correction(ANN, "chat", talk.answers[0], GOOD.format(number))


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let writing fail beyond a size, as it does on a full disk."""
    soft, hard = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        setrlimit(RLIMIT_FSIZE, (soft, hard))
