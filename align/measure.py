"""What a version does on the prompts and texts shipped for it: the numbers behind a harm check."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from align.progress import Progress
from align.rendering import render_prompt, tokenizer_of
from align.training import load
from assistant import prompts
from assistant.registry import Version, write_synced

ANSWER_TOKENS = 256
TEMPERATURE, TOP_P = 0.7, 0.95
BATCH = 32
NGRAM = 4


@dataclass(frozen=True)
class Answer:
    """What one harm prompt got. `tokens` counts the answer without its end token."""

    stopped: bool
    tokens: int
    refused: bool
    repetition: float
    """Share of 4-grams that were said before in the same answer."""


@dataclass(frozen=True)
class Measures:
    """One version's numbers, item by item so that two versions can be compared in pairs."""

    losses: tuple[float, ...]
    """Mean negative log-likelihood per token of each plain paragraph, in nats."""
    answers: tuple[Answer, ...]

    @property
    def perplexity(self) -> float:
        """Of the plain text, every paragraph weighing the same."""
        return float(torch.tensor(self.losses).mean().exp())

    def mean(self, name: str) -> float:
        """The mean of one field over all answers."""
        return sum(float(getattr(a, name)) for a in self.answers) / len(self.answers)


def measured(version: Version, cache: Path, scratch: Path) -> Measures:
    """The measures of a version, kept by its content hash: the same weights are measured once."""
    file = cache / f"{version.content_hash[:16]}-{_questions_hash()}.json"
    if file.is_file():
        return _read(file)
    with torch.inference_mode():
        measures = measure(version.path, Progress(scratch))
    cache.mkdir(parents=True, exist_ok=True)
    write_synced(file, json.dumps(asdict(measures)))
    return measures


def measure(folder: Path, progress: Progress) -> Measures:
    """Read the plain text and answer the harm prompts with the version in `folder`."""
    model, tokenizer = load(folder).eval(), tokenizer_of(folder)
    losses = tuple(_loss(model, tokenizer, text) for text in plain_paragraphs())
    questions = harm_questions()
    answers: list[Answer] = []
    for start in range(0, len(questions), BATCH):
        answers += _answers(model, tokenizer, questions[start : start + BATCH], seed=start)
        progress.update(len(answers), len(questions), "answers")
    return Measures(losses, tuple(answers))


def harm_questions() -> list[str]:
    """The prompts of the harm check, one a line."""
    return prompts.load("harm/questions.txt").splitlines()


def plain_paragraphs() -> list[str]:
    """The text whose perplexity is measured, by paragraphs."""
    return prompts.load("harm/plain.txt").split("\n\n")


def answer_logps(folder: Path, rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Log-probabilities (summed, in nats) of the better and the worse answer of each token row."""
    model = load(folder).eval()
    with torch.inference_mode():
        return [
            (
                _logp(model, row["prompt_ids"], row["chosen_ids"]),
                _logp(model, row["prompt_ids"], row["rejected_ids"]),
            )
            for row in rows
        ]


def _logp(model: Any, prompt: list[int], answer: list[int]) -> float:
    ids = torch.tensor([prompt + answer])
    logits = model(ids).logits[0, len(prompt) - 1 : -1].float()
    picked = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])
    return float(picked.sum())


def _loss(model: Any, tokenizer: Any, text: str) -> float:
    ids = tokenizer(text, return_tensors="pt").input_ids
    logits = model(ids).logits[0, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]))


def _answers(model: Any, tokenizer: Any, questions: list[str], seed: int) -> Iterator[Answer]:
    turns = [[{"role": "user", "content": question}] for question in questions]
    prompts_ids = [render_prompt(tokenizer, t) for t in turns]
    width = max(map(len, prompts_ids))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts_ids])
    torch.manual_seed(seed)
    made = model.generate(
        ids,
        attention_mask=(ids != pad).long(),
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        max_new_tokens=ANSWER_TOKENS,
        pad_token_id=pad,
    )
    for row in made[:, width:].tolist():
        yield _judged(row, tokenizer)


def _judged(ids: list[int], tokenizer: Any) -> Answer:
    end = tokenizer.eos_token_id
    stopped = end in ids
    said = ids[: ids.index(end)] if stopped else [i for i in ids if i != tokenizer.pad_token_id]
    text = tokenizer.decode(said, skip_special_tokens=True).lower().replace("’", "'")
    refused = any(phrase in text[:200] for phrase in prompts.load("harm/refusals.txt").splitlines())
    return Answer(stopped, len(said), refused, repetition(said))


def repetition(ids: Sequence[int]) -> float:
    """The share of n-grams of an answer that stood in it before."""
    grams = [tuple(ids[i : i + NGRAM]) for i in range(len(ids) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _questions_hash() -> str:
    texts = "\n".join([*harm_questions(), *plain_paragraphs()])
    return hashlib.sha256(texts.encode()).hexdigest()[:8]


def _read(file: Path) -> Measures:
    fields = json.loads(file.read_text(encoding="utf-8"))
    return Measures(tuple(fields["losses"]), tuple(Answer(**a) for a in fields["answers"]))
