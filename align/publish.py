"""Publishing: the form in which engines load a version, 8 bits where that is faithful enough."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from align import fidelity, int8
from align.loading import load
from align.rendering import render, tokenizer_of
from align.steps import Report
from assistant import prompts
from assistant.published import Form
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.sources import resolve_now
from assistant.version import Version

KEPT = (0.1, 0.2, 0.3, 0.5)  # shares of the weights that stay in bf16, until that is enough


def publish(name: str, form: Form, settings: Settings, report: Report) -> Version:
    """Serve a version in another form from the engine's next start on; returns it as it is now.

    As few of the weights as do stay in bf16, of `KEPT`; where 8 bits are not faithful enough with
    the most of them, all do, and the reasons are kept beside its card. Killed half-way, it is
    served as before. Raises Invalid for an architecture that is not known.
    """
    registry = Registry(settings.home)
    version = resolve_now(name, registry, report)
    registry.verify(version)
    if form == "bf16":
        return registry.publish(version, None, {}, [])
    with registry.staging() as scratch:
        made = scratch / "int8"
        checks = _made(version, made, settings.home.resolve(), report)
        why = [_in_words(n, check) for n, check in checks.items() if check.failed]
        facts = {n: {**asdict(check), "failed": check.failed} for n, check in checks.items()}
        return registry.publish(version, None if why else made, facts, why)


def _made(version: Version, made: Path, home: Path, report: Report) -> dict[str, fidelity.Check]:
    """Write the smallest form that is faithful enough, or the largest; returns its comparison."""
    tokenizer = tokenizer_of(version.path)
    report("Writing down what the version answers")
    expected = fidelity.expected_of(load(version.path).eval(), tokenizer)
    prepared = made.with_suffix(".safetensors")
    harms = _prepare(version, tokenizer, prepared, report)
    for share in KEPT:
        checks = {"kept": fidelity.Check(share, KEPT[-1], "more stays in bf16")}
        checks |= _written(version, prepared, harms, share, expected, made)
        if share < KEPT[-1] and any(check.failed for check in checks.values()):
            continue
        report(f"Reading plain text with an engine of it, {share:.0%} of its weights in bf16")
        checks |= fidelity.in_perplexity(expected, tokenizer, version, made, home)
        if not any(check.failed for check in checks.values()):
            break
    return checks


def _prepare(version: Version, tokenizer: Any, out: Path, report: Report) -> dict[int8.Kept, float]:
    """Write the weights ready for rounding to a file; returns what rounding each group harms."""
    model = load(version.path).float().eval()
    harms = int8.prepare(model, _calibration(tokenizer), report)
    save_model(model, str(out))
    return harms


def _written(
    version: Version,
    prepared: Path,
    harms: dict[int8.Kept, float],
    share: float,
    expected: fidelity.Expected,
    made: Path,
) -> dict[str, fidelity.Check]:
    """Write the form of which a share stays in bf16; returns how it draws tokens."""
    model = load(version.path).float().eval()
    load_model(model, str(prepared))
    kept = int8.hardest(model, harms, share)
    shutil.rmtree(made, ignore_errors=True)
    int8.write(model, kept, version.path, made)
    return fidelity.in_tokens(expected, model, kept)


def _calibration(tokenizer: Any) -> list[torch.Tensor]:
    """What activations are measured on: plain text, and the same text in a conversation."""
    found = []
    for text in prompts.load("steady.txt").split("\n\n"):
        said = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        found += [tokenizer(text).input_ids, render(tokenizer, said).ids]
    return [torch.tensor([ids]) for ids in found]


def _in_words(name: str, check: fidelity.Check) -> str:
    bound = "at least" if check.least else "at most"
    return f"{check.says} ({name} {check.value:.3g}, {bound} {check.limit:.3g})"
