"""A served program in small: a rollout over scripted engine children, a real store, real files."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from assistant.chat import Chat, Sampling
from assistant.feedback.store import FeedbackStore
from assistant.fleet import Fleet
from assistant.registry import Registry
from assistant.rollout import Rollout
from assistant.settings import Settings
from assistant.trials import Trial, Trials
from tests.assistant.doors import ANNS_CALLS, opened
from tests.assistant.feedback.said import ANN, ask, made

PATIENCE = 30  # seconds for scripted children to start on a busy machine


@dataclass
class House:
    """What runs, and what it reported."""

    registry: Registry
    trials: Trials
    store: FeedbackStore
    fleet: Fleet
    rollout: Rollout
    said: list[str]

    @property
    def chat(self) -> Chat:
        return Chat(self.store, self.fleet, opened(self.store.url))

    @property
    def current(self) -> str:
        return self.registry.current.name

    @property
    def served(self) -> list[str]:
        return [s.version.name for s in self.fleet.served()]

    @property
    def ready(self) -> list[str]:
        return [s.version.name for s in self.fleet.served() if s.status.state == "ready"]

    async def steps_until(self, there: Callable[[], object]) -> None:
        """Let the rollout step until something is so."""
        await self._until(there, self.rollout.step)

    async def until(self, there: Callable[[], object]) -> None:
        """Wait until something is so."""
        await self._until(there, lambda: asyncio.sleep(0))

    async def _until(self, there: Callable[[], object], act: Callable[[], Awaitable[None]]) -> None:
        ends = time.monotonic() + PATIENCE
        while not there():
            assert time.monotonic() < ends, (self.said, self.fleet.served())
            await act()
            await asyncio.sleep(0.02)

    async def answered_by(self, text: str = "hi") -> str:
        """The version that answers a question to `assistant` now."""
        conversation = self.store.conversations.start(ANN, "chat").id
        question = await self.chat.ask(conversation, None, text, "")
        drafts = [draft async for draft in self.chat.answer(question, Sampling(), ANNS_CALLS)]
        assert drafts[-1].text == "one two three"
        return drafts[-1].message.generation.version

    def vote(self, trial: Trial, choices: Sequence[str]) -> None:
        """People's votes on pairs in which the candidate was shown first."""
        versions = (trial.candidate, trial.against)
        for choice in choices:
            talk = ask(self.store)
            answers = [
                self.store.conversations.add(
                    *(talk.conversation, talk.question, "assistant", f"By {name}.", "model"),
                    replace(made(), version=name),
                ).id
                for name in versions
            ]
            drawn = self.store.comparisons.draw(
                talk.conversation, *answers, "versions", blind=True, trial=trial.id
            )
            self.store.judgements.compared(ANN, "compare", drawn, choice)


@asynccontextmanager
async def house(home: Path, **settings: Any) -> AsyncIterator[House]:
    """A program that serves what its registry says is current; the caller steps its rollout."""
    wanted = Settings(home=home, **{"compile": "off"} | settings)
    registry, trials, said = Registry(home), Trials(home), []
    fleet = Fleet(wanted, registry, said.append)
    with FeedbackStore(wanted.database) as store:
        rollout = Rollout(fleet, registry, trials, store, said.append)
        await fleet.start()
        try:
            yield House(registry, trials, store, fleet, rollout, said)
        finally:
            await rollout.stop()
            await fleet.stop()
    assert children() == []


def children() -> list[str]:
    """The versions whose engine children run, told by their flags."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with_flags = _command_line(child)
        if "--served-model-name" in with_flags:
            found.append(with_flags[with_flags.index("--served-model-name") + 1])
    return sorted(found)


def _command_line(child: psutil.Process) -> list[str]:
    try:
        return " ".join(child.cmdline()).split()
    except psutil.Error:  # ended while it was looked at
        return []


def cannot_start(house: House, name: str) -> None:
    """Let a version's engine end as soon as it starts."""
    (house.registry.get(name).path / "die-at-start").touch()


def is_damaged(house: House, name: str) -> None:
    """Change a byte of a version's weights."""
    (house.registry.get(name).path / "model.safetensors").write_text("WEIGHTS")
