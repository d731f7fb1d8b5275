"""What a version's card says of how it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.ends import ENDS
from align.safety.halves import told as halves_in_words
from align.training import MADE
from assistant.version import Version


@dataclass(frozen=True)
class Trained:
    """What a stage did: where the model is, from how many rows, and how it went."""

    model: Path
    story: dict[str, Any]

    @property
    def step(self) -> str:
        """The stage's name, with a number where it was trained several times."""
        return self.model.parent.name

    @property
    def adapter(self) -> Path:
        """What was learnt, as matrices of low rank."""
        return self.model / MADE / "adapter"


def facts_of(base: Version, story: dict[str, Any]) -> dict[str, Any]:
    """The card's short facts, from the base's and the story of the training."""
    kept = ("architecture", "parameters", "context", "licence")
    facts = {name: base.facts[name] for name in kept if name in base.facts}
    return facts | {
        "judgements": len(story["judgements"]),
        **({"processes": story["processes"]} if story["processes"] > 1 else {}),
        "trained with": ", ".join(f"{n} {v}" for n, v in story["libraries"].items()),
    }


def told(trained: Sequence[Trained], averaged: bool) -> str:
    """The stages, one after the other; those of several trainings side by side."""
    if not averaged:
        return " → ".join(map(_sentence, trained))
    first = trained[0].story["stage"]
    trainings: list[list[str]] = []
    for one in trained:
        if one.story["stage"] == first:
            trainings.append([])
        trainings[-1].append(_sentence(one))
    return "average of " + " + ".join(" → ".join(stages) for stages in trainings)


def _sentence(one: Trained) -> str:
    story, metrics = one.story, one.story["metrics"]
    if "accuracy" in metrics:
        agreed = metrics.get("raters_agree")
        people = f"; two people agree on {agreed:.0%}" if agreed is not None else ""
        return (
            f"{one.step} on {story['rows']} rows, {metrics['accuracy']:.0%} of "
            f"{metrics['held_out']} held-out pairs ranked right ({metrics['low']:.0%} to "
            f"{metrics['high']:.0%}; always longer {metrics['always_longer']:.0%}{people})"
        )
    if "bits_after" in metrics:
        return (
            f"{story['stage']} on {story['tokens']} tokens ({metrics.get('steps', 0)} steps), "
            f"{metrics['bits_before']:.3f} → {metrics['bits_after']:.3f} bits per byte of "
            f"{metrics['documents_held_out']} held-out documents"
        )
    if "reward_first" in metrics:
        return _rewarded(one)
    less = _less(metrics)
    if ENDS in metrics:
        less += f", answers end {metrics[ENDS]:.2g} times as readily"
    for test, halves in metrics.get("halves", {}).items():
        less += f"; {test}: {halves_in_words(halves)}"
    return (
        f"{one.step} on {story['rows']} rows ({metrics.get('steps', 0)} steps, loss "
        f"{metrics.get('loss_first', 0):.3f} to {metrics.get('loss_last', 0):.3f}{less})"
    )


def _rewarded(one: Trained) -> str:
    """Of what was learnt from rewards, with what got none."""
    metrics = one.story["metrics"]
    missing = sum(sum(reasons.values()) for reasons in metrics["without_reward"].values())
    told = f", {missing} rewards missing" if missing else ""
    told += f", {metrics['not_asked']} prompts over in each epoch" if metrics["not_asked"] else ""
    return (
        f"{one.step} on {metrics['prompts']} prompts ({metrics['steps']} steps, reward "
        f"{metrics['reward_first']:.3f} to {metrics['reward_last']:.3f}, "
        f"{metrics['nats_from_base']:.3f} nats a token from its base{told}{_less(metrics)})"
    )


def _less(metrics: dict[str, Any]) -> str:
    """What was given up of it."""
    kept = metrics.get("kept", 1.0)
    told = f", {kept:.0%} of it kept" if kept < 1 else ""
    return told + (f", stopped: {metrics['stopped']}" if "stopped" in metrics else "")
