"""Versions: what exists, what is served, and each one's card."""

from typing import Any

import gradio as gr

from assistant.page.visitor import EVENT, Desk, attempt
from assistant.registry import Version


class VersionsTab:
    """A list of versions and the card of the chosen one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._say = desk.say
        self._list = gr.Radio([], label=self._say("version_list"), elem_id="version-list")
        self._card = gr.Markdown(elem_id="version-card")

    def wire(self, tab: gr.Tab) -> None:
        """Refresh the list when the tab is opened; show the card of what is chosen."""
        tab.select(self.refresh, None, [self._list, self._card], **EVENT)
        self._list.input(self.card, self._list, self._card, **EVENT)

    async def refresh(self) -> list[Any]:
        """Every version with its marks, and the main one's card."""
        registry, fleet = self._desk.registry, self._desk.chat.fleet
        versions = {v.name: v for v in await attempt(registry.versions)}
        served = [s.version for s in fleet.served()]
        versions = {v.name: v for v in served} | versions
        current = registry.current
        choices = []
        for name in versions:
            marks = [self._say("card_current")] if current and current.name == name else []
            marks += [self._say("card_served")] if name in [v.name for v in served] else []
            choices.append((f"{name} ({', '.join(marks)})" if marks else name, name))
        if not versions:
            return [gr.update(choices=[], value=None), ""]
        chosen = served[0].name if served else next(iter(versions))
        return [gr.update(choices=choices, value=chosen), self._text(versions[chosen])]

    async def card(self, name: str) -> str:
        """The card of one version, as Markdown."""
        for served in self._desk.chat.fleet.served():
            if served.version.name == name and not self._desk.registry.has(name):
                return self._text(served.version)
        return self._text(await attempt(self._desk.registry.get, name))

    def _text(self, version: Version) -> str:
        say = self._say
        rows = [
            (say("card_origin"), f"{version.kind}: {version.source}"),
            (say("card_base"), version.base or "–"),
            (say("card_created"), version.created_at or "–"),
            *((key, str(value)) for key, value in version.facts.items()),
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
