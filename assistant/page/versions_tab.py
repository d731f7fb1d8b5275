"""Versions: what exists, what is served, and each one's card."""

import base64
import html
from pathlib import Path
from typing import Any

import gradio as gr

from assistant.page.align_tab import trial_in_words
from assistant.page.visitor import AT_ONCE, EVENT, Desk, attempt
from assistant.version import Version

CURVE = "made/**/curve.svg"
LARGEST = 2**20  # bytes of a picture that is shown


class VersionsTab:
    """A list of versions, the card of the chosen one, and how its trainings went."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._say = desk.say
        self._list = gr.Radio([], label=self._say("version_list"), elem_id="version-list")
        with gr.Row():
            self._promote = gr.Button(self._say("promote"), size="sm", elem_id="promote")
            self._back = gr.Button(self._say("roll_back"), size="sm", elem_id="roll-back")
        self._card = gr.Markdown(elem_id="version-card")
        self._curves = gr.HTML(elem_id="version-curves")

    def wire(self, tab: gr.Tab) -> None:
        """Refresh the list when the tab is opened; show the card of what is chosen."""
        told = [self._card, self._curves]
        shown = [self._list, *told]
        tab.select(self.refresh, None, shown, **AT_ONCE)
        self._list.input(self.card, self._list, told, **AT_ONCE)
        self._promote.click(self.promote, self._list, shown, **EVENT)
        self._back.click(self.roll_back, None, shown, **EVENT)

    async def promote(self, name: str, request: gr.Request) -> list[Any]:
        """Make a version the current one; the served program swaps to it."""
        await self._desk.caller(request, "admin")
        await attempt(self._desk.registry.promote, name, "from the page")
        gr.Info(self._say("promoting", name=name))
        return await self.refresh()

    async def roll_back(self, request: gr.Request) -> list[Any]:
        """Make the version current that was so before."""
        await self._desk.caller(request, "admin")
        version = await attempt(self._desk.registry.rollback, "from the page")
        gr.Info(self._say("promoting", name=version.name))
        return await self.refresh()

    async def refresh(self) -> list[Any]:
        """Every version with its marks, and the main one's card."""
        registry, fleet = self._desk.registry, self._desk.chat.fleet
        versions = {v.name: v for v in await attempt(registry.versions)}
        served = [s.version for s in fleet.served()]
        versions = {v.name: v for v in served} | versions
        current = registry.current
        trial = await attempt(self._desk.pairs.trials.running)
        choices = []
        for name in versions:
            marks = [self._say("card_current")] if current and current.name == name else []
            marks += [self._say("card_served")] if name in [v.name for v in served] else []
            marks += [self._say("card_candidate")] if trial and trial.candidate == name else []
            choices.append((f"{name} ({', '.join(marks)})" if marks else name, name))
        if not versions:
            return [gr.update(choices=[], value=None), "", ""]
        chosen = served[0].name if served else next(iter(versions))
        return [gr.update(choices=choices, value=chosen), *await self._told(versions[chosen])]

    async def card(self, name: str) -> list[str]:
        """The card of one version, as Markdown, and its curves, as HTML."""
        for served in self._desk.chat.fleet.served():
            if served.version.name == name and not self._desk.registry.has(name):
                return await self._told(served.version)
        return await self._told(await attempt(self._desk.registry.get, name))

    async def _told(self, version: Version) -> list[str]:
        curves = await attempt(curves_of, version.path) if version.folder else ""
        return [await self._text(version), curves]

    async def _text(self, version: Version) -> str:
        say = self._say
        rows = [
            (say("card_origin"), f"{version.kind}: {version.source}"),
            (say("card_lineage"), " ← ".join(await attempt(self._desk.registry.lineage, version))),
            *await self._trial(version),
            (say("card_created"), version.created_at or "–"),
            *((key, str(value)) for key, value in version.facts.items()),
            *self._published(version),
            (say("card_hash"), f"`{version.content_hash[:16]}`"),
        ]
        first, *rest = (f"| {name} | {value} |" for name, value in rows)
        table = "\n".join([first, "|---|---|", *rest])
        files = "\n".join(
            f"| {name} | {facts['bytes']:,} | `{facts['sha256'][:16]}` |"
            for name, facts in version.files.items()
        )
        parts = [f"## {version.name}", version.notes, table]
        if files:
            parts.append(
                f"### {say('card_files')}\n\n| | bytes | SHA-256 |\n|---|---|---|\n{files}"
            )
        return "\n\n".join(part for part in parts if part)

    def _published(self, version: Version) -> list[tuple[str, str]]:
        """In which form it is served, where another one was tried."""
        published, say = version.published, self._say
        if not published.checks:
            return []
        told = ", ".join(f"{n} {check['value']:.3g}" for n, check in published.checks.items())
        served = say("card_int8" if published.form == "int8" else "card_bf16")
        return [(say("card_served_as"), ". ".join([f"{served} ({told})", *published.reasons]))]

    async def _trial(self, version: Version) -> list[tuple[str, str]]:
        """How the version fares, or fared, on trial."""
        pairs = self._desk.pairs
        trial = await attempt(pairs.trials.of, version.name)
        if trial is None:
            return []
        if trial.outcome is None:
            standing = await attempt(pairs.standing, trial)
            return [(self._say("card_trial"), trial_in_words(trial, standing, self._say))]
        outcome = self._say(f"outcome_{trial.outcome}")
        told = self._say("trial_ended", outcome=outcome, reason=trial.reason)
        return [(self._say("card_trial"), told)]


def curves_of(folder: Path) -> str:
    """The pictures of how each training of a version went, as HTML; a script in one cannot run."""
    found = [file for file in sorted(folder.glob(CURVE)) if file.stat().st_size <= LARGEST]
    return "".join(map(_figure, found))


def _figure(file: Path) -> str:
    name = html.escape(file.parent.name)
    picture = base64.b64encode(file.read_bytes()).decode()
    return (
        f"<figure><figcaption>{name}</figcaption>"
        f'<img alt="{name}" style="max-width: 100%" src="data:image/svg+xml;base64,{picture}">'
        "</figure>"
    )
