"""`align data …`: look at what a stage would learn from, and clean it."""

import json as json_
import os
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
    """Print what was understood of a source: counts, lengths in tokens, rows as the model sees them.

    Args:
        source: `feedback`, a file, a folder, or a hub name.
        base: Whose tokenizer and chat template to show it with.
        examples: How many rows of each shape to print.
    """
    from rich.console import Console

    from align.data.show import show as print_it
    from align.data.show import understood
    from align.rendering import tokenizer_of
    from assistant.registry import Registry
    from assistant.sources import resolve_now

    settings = from_environment(os.environ)
    console = Console(stderr=json)
    version = resolve_now(base, Registry(settings.home), console.print)
    tokenizer = tokenizer_of(version.path)
    found = understood(source, settings.database, tokenizer)
    if json:
        _print_json(found.as_facts())
        return
    print_it(found, tokenizer, examples, console)
    print(f"Next: align data clean {source} OUT.jsonl")


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
    from align.data.cleaning import Choice
    from align.data.cleaned import write_cleaned

    settings = from_environment(os.environ)
    choice = Choice(mask, near, boilerplate, languages)
    report = write_cleaned(
        source, out, shape, settings.database, choice, against, held_out, seed
    )
    if json:
        _print_json(report.as_facts())
        return
    for line in report.lines():
        print(line)
    print(f"Next: align {report.stage} --data {out}")


def _print_json(value: Any) -> None:
    print(json_.dumps(value, indent=2, ensure_ascii=False))
