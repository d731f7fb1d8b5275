"""`align data …`: look at what a stage would learn from, and clean it."""

import json as json_
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from align.recipes import AsJson
from assistant.settings import from_environment

data = tyro.extras.SubcommandApp()


@data.command
def show(
    source: tyro.conf.Positional[str] = "feedback",
    *,
    base: str = "current",
    examples: int = 2,
    json: AsJson = False,
) -> None:
    """Print what was understood of a source: counts, lengths in tokens, rows as a model sees them.

    Args:
        source: `feedback`, `new-feedback` or `old-feedback` (which the base has learnt from), a
            file, a folder, or a hub name.
        base: Whose tokenizer and chat template to show it with.
        examples: How many rows of each shape to print.
    """
    from rich.console import Console

    from align.data.show import show as print_it
    from align.data.show import understood
    from align.rendering import tokenizer_of
    from align.stages import learnt_by
    from assistant.registry import Registry
    from assistant.sources import resolve_now

    settings = from_environment(os.environ)
    console = Console(stderr=json)
    registry = Registry(settings.home)
    version = resolve_now(base, registry, console.print)
    tokenizer = tokenizer_of(version.path)
    found = understood(source, settings.database, tokenizer, learnt_by(version, registry))
    if json:
        _print_json(found.as_facts())
        return
    print_it(found, tokenizer, examples, console)
    if shape := next((held.shape for held in found.held if held.shape != "prompt"), None):
        print(f"Next: align data clean {source} OUT.jsonl --shape {shape}")


@data.command
def clean(
    source: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    *,
    shape: Literal["preference", "unpaired", "messages", "text"] = "preference",
    against: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = (),
    mask: bool = True,
    near: bool = True,
    boilerplate: bool = True,
    languages: tuple[str, ...] = (),
    held_out: float = 0.0,
    seed: int = 0,
    json: AsJson = False,
) -> None:
    """Write the sound rows of a source, and say of each step what it took and why.

    Args:
        source: `feedback`, a file, a folder, or a hub name.
        out: A .jsonl file; the report goes beside it.
        shape: preference (DPO, reward), unpaired (KTO), messages (SFT) or text (pretrain).
        against: Files of questions that nothing may be learnt of, besides the harm check's.
        mask: Mask addresses, numbers and secrets.
        near: Leave out rows that are nearly the same as an earlier one.
        boilerplate: Leave out answers with the phrases of prompts/cleaning/boilerplate.txt.
        languages: Keep only these, as two letters.
        held_out: Share of conversations to write to a file of their own.
        seed: What decides which conversations are held out.
    """
    from align.data.cleaned import write_cleaned
    from align.data.cleaning import Choice

    settings = from_environment(os.environ)
    choice = Choice(mask, near, boilerplate, languages)
    report = write_cleaned(source, out, shape, settings.database, choice, against, held_out, seed)
    if json:
        _print_json(report.as_facts())
        return
    for line in report.lines():
        print(line)
    print(f"Next: align {report.stage} --data {out}")


@data.command
def generate(
    source: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    *,
    kind: Literal["answers", "pairs"] = "answers",
    new: int = 0,
    n: int = 4,
    scorer: str | None = None,
    least: float | None = None,
    margin: float = 0.0,
    url: str | None = None,
    model: str = "assistant",
    key: str | None = None,
    temperature: float = 1.0,
    max_tokens: int = 512,
    seed: int = 0,
    json: AsJson = False,
) -> None:
    """Let models make rows: new questions from seeds, and the best of several answers to each.

    Killed, the same command goes on; every row keeps who made it.

    Args:
        source: Whose questions to answer, or to make new ones from: `feedback`, a file, a folder.
        out: A .jsonl file.
        kind: The best answer to each question (SFT), or the best and the worst (DPO, reward).
        new: How many new questions to make from those of the source; 0 answers these themselves.
        n: Answers drawn for each question.
        scorer: What tells good from bad: a version that `align reward` made, or FILE.py:FUNCTION.
        least: Keep no answer with a lower score.
        margin: Keep no pair whose scores are nearer to each other.
        url: An OpenAI-compatible API; without it, the program that runs on this home.
        model: What to ask there.
        key: Its API key; without it, OPENAI_API_KEY if that is set.
        temperature: Of the answers.
        max_tokens: Of the answers.
        seed: What decides which questions are shown when new ones are asked for.
    """
    from align.data.generate import Endpoint
    from align.data.generated import Wish, generated

    settings = from_environment(os.environ)
    address = url or own_address(settings.home)
    key = key or os.environ.get("OPENAI_API_KEY", "none")
    endpoint = Endpoint(address, model, key, temperature, 1.0, max_tokens)
    wish = Wish(source, kind, new, n, scorer, least, margin, seed)
    told = generated(wish, out, endpoint, settings, lambda line: print(line, file=sys.stderr))
    if json:
        _print_json(told)
        return
    for name, number in told.items():
        print(f"{number:6} {name}")
    stage, shape = ("sft", "messages") if kind == "answers" else ("dpo", "preference")
    print(
        f"Next: align data clean {out} CLEAN.jsonl --shape {shape}, "
        f"then align {stage} --data CLEAN.jsonl"
    )


@data.command
def tasks(
    name: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    *,
    count: int = 500,
    seed: int = 0,
    knob: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
) -> None:
    """Write tasks of reasoning-gym as prompts for `align rlhf --reward verifier:gym`.

    Args:
        name: Of the tasks, as reasoning-gym calls them: chain_sum, spell_backward, …
        out: A .jsonl file.
        count: How many.
        seed: Other seeds make other tasks.
        knob: How difficult they are, as NAME=NUMBER.
    """
    from align.verifiers import gym
    from assistant.disk import write_synced

    rows = list(gym.tasks(name, count, seed, gym.knobs_of(knob)))
    write_synced(out, "".join(json_.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{len(rows)} tasks. Next: align rlhf --data {out} --reward verifier:gym")


def own_address(home: Path) -> str:
    """Where the program that runs on this home answers. Raises Invalid where none runs."""
    from assistant.errors import Invalid
    from assistant.home import running_at

    found = running_at(home)
    if found is None:
        raise Invalid(
            f"No program runs on {home}; start it (make chat), or name an API with --url."
        )
    return f"{found}/v1"


def _print_json(value: Any) -> None:
    print(json_.dumps(value, indent=2, ensure_ascii=False))
