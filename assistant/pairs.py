"""Two answers to one question, drawn blind: of a trial's two versions, or two samples of one."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Literal

from assistant.access.callers import Caller
from assistant.chat import Chat, Draft, Sampling
from assistant.errors import EngineError, NotReady, NotServed
from assistant.feedback.records import Message
from assistant.fleet import ALIAS
from assistant.trials import Trial, Trials
from assistant.verdict import Verdict, judge

Kind = Literal["samples", "versions"]
PAIR_SAMPLING = Sampling(temperature=0.9)
RETIRED = "One of the two versions was retired just now; please ask again."


@dataclass(frozen=True)
class Sides:
    """Which version answers on which side; stays on the server until the vote."""

    kind: Kind
    first: str
    second: str
    trial: str | None = None


class Pairs:
    """Draws the sides, lets both answer, and notes what was shown."""

    def __init__(self, chat: Chat, trials: Trials) -> None:
        self.chat = chat
        self.trials = trials
        self._standing: tuple[tuple[str, int], Verdict] | None = None

    def draw_sides(self, wanted: Kind | None = None) -> Sides:
        """The two versions of the running trial if both can answer, else two samples.

        `wanted` asks for two samples, or for the two served versions, trial or not.
        """
        served = [s.version.name for s in self.chat.fleet.served() if s.status.state == "ready"]
        main = served[0] if served else ALIAS
        if wanted == "samples" or len(served) < 2:
            return Sides("samples", main, main)
        trial = self.trials.running()
        on_trial = trial is not None and {trial.candidate, trial.against} == set(served[:2])
        if not on_trial and wanted is None:
            return Sides("samples", main, main)
        first, second = served[:2][::-1] if secrets.randbelow(2) else served[:2]
        return Sides("versions", first, second, trial.id if trial and on_trial else None)

    def standing(self, trial: Trial) -> Verdict:
        """What the votes of a trial say so far."""
        comparisons = self.chat.store.comparisons
        counted = (trial.id, comparisons.latest_judgement())
        if self._standing is None or self._standing[0] != counted:
            votes = comparisons.votes(trial.id, trial.candidate)
            self._standing = counted, judge(votes)
        return self._standing[1]

    async def stream(
        self, question: Message, sampling: Sampling, sides: Sides, caller: Caller
    ) -> AsyncGenerator[tuple[Draft, Draft]]:
        """Two drafts growing together: neither shows more steps than the other has made."""
        async with AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(
                    aclosing(self.chat.answer(question, sampling, caller, name))
                )
                for name in (sides.first, sides.second)
            ]
            latest = [Draft(""), Draft("")]
            while True:
                steps = [
                    anext(s, None) for s, d in zip(streams, latest, strict=True) if not d.message
                ]
                if not steps:
                    return
                try:
                    fresh = iter(await _together(steps))
                except NotServed:  # nobody named the version: it was drawn, and retired since
                    raise NotReady(RETIRED, retry_after=1) from None
                latest = [d if d.message else (next(fresh) or d) for d in latest]
                yield latest[0], latest[1]

    async def note(
        self, first: Message | None, second: Message | None, sides: Sides
    ) -> tuple[str, tuple[Message, Message]]:
        """Note a pair that was shown blind; returns the comparison's id, and the pair.

        Raises EngineError where one of them says nothing: there is nothing to compare.
        """
        if not (first and first.content and second and second.content):
            raise EngineError("One of the two answers came back empty; please ask again.", 503)
        drawn = await asyncio.to_thread(
            self.chat.store.comparisons.draw,
            *(first.conversation_id, first.id, second.id, sides.kind),
            blind=True,
            trial=sides.trial,
        )
        return drawn, (first, second)


async def _together(steps: Sequence[Awaitable[Draft | None]]) -> list[Draft | None]:
    """The outcomes of some steps; once one fails, the others end too and can be closed."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
