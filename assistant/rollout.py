"""Follows the promoted version and the trial; swaps engines without dropping an answer.

Promoting is a change of files (`assistant promote`, the page, a trial that is decided). The served
program sees it here: it starts the new version beside the old one, waits until that one produces
tokens, lets new questions go there, and ends the old engine after its last answer. A step waits for
no engine, so that whatever is wanted meanwhile is heard; the next one goes on.
"""

import asyncio
import logging
from collections.abc import Callable

from assistant.errors import AssistantError, EngineError
from assistant.feedback.store import FeedbackStore
from assistant.fleet import SERVED_ON_CPU, Fleet
from assistant.registry import Registry
from assistant.trials import Trial, Trials
from assistant.verdict import judge
from assistant.version import Version

FOLLOW_SECONDS = 1

Report = Callable[[str], None]


class Rollout:
    """Keeps what is served equal to what the registry and the running trial ask for."""

    def __init__(
        self,
        fleet: Fleet,
        registry: Registry,
        trials: Trials,
        store: FeedbackStore,
        report: Report = print,
    ) -> None:
        self._fleet = fleet
        self._registry = registry
        self._trials = trials
        self._store = store
        self._report = report
        self._counted = -1
        self._complaint = ""
        self._unserved = ""  # the current version that could not be started
        self._waits = ""  # the current version that there is no room for yet
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow in the background; returns at once."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following; engines are the fleet's to stop."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        await self._fleet.brought_up()
        while self._fleet.follows:
            try:
                await self.step()
                self._complaint = ""
            except (AssistantError, OSError) as error:
                if str(error) != self._complaint:  # said once, tried again every second
                    self._report(str(error))
                self._complaint = str(error)
            except Exception:  # this loop must outlive whatever it meets
                logging.getLogger(__name__).exception("Following promotions failed")
            await asyncio.sleep(FOLLOW_SECONDS)

    async def step(self) -> None:
        """Decide the trial if its votes do, then serve what is wanted."""
        trial = await asyncio.to_thread(self._trials.running)
        if trial:
            await asyncio.to_thread(self._decide, trial)
            trial = await asyncio.to_thread(self._trials.running)
        current = await asyncio.to_thread(lambda: self._registry.current)
        if current is None:
            return
        if not self._fleet.served():
            await self._start_over(current)
            return
        if self._fleet.quickening:  # two engines are what a CPU holds
            return
        if current.name == self._fleet.served()[0].version.name or await self._swap(current):
            await self._attend(trial)

    async def _start_over(self, current: Version) -> None:
        """Where nothing could be served at the start, another current version gets its chance."""
        before, self._unserved = self._unserved, current.name
        if before not in ("", current.name):
            await self._bring_up(current)

    def _decide(self, trial: Trial) -> None:
        current = self._registry.current
        name = current.name if current else None
        if name == trial.candidate:
            self._end(trial, "promoted", "it was promoted by hand")
        elif name != trial.against:
            self._end(trial, "withdrawn", f"{name} was promoted meanwhile")
        elif (latest := self._store.comparisons.latest_judgement()) != self._counted:
            self._count(trial)
            self._counted = latest

    def _count(self, trial: Trial) -> None:
        verdict = judge(self._store.comparisons.votes(trial.id, trial.candidate))
        if verdict.decision == "ask":
            return
        says = (
            f"{verdict.votes} votes give it {verdict.win_rate:.0%} "
            f"(95 % sure: {verdict.lower:.0%} to {verdict.upper:.0%})"
        )
        if verdict.decision == "promote":
            self._registry.promote(trial.candidate, says)
            self._trials.end(trial, "promoted", says, verdict)
        else:
            self._trials.end(trial, "withdrawn", says, verdict)
        self._report(f"Trial of {trial.candidate}: {verdict.decision}, {says}")

    def _end(self, trial: Trial, outcome: str, reason: str) -> None:
        verdict = judge(self._store.comparisons.votes(trial.id, trial.candidate))
        ended = "promoted" if outcome == "promoted" else "withdrawn"
        self._trials.end(trial, ended, reason, verdict)  # type: ignore[arg-type]
        self._report(f"Trial of {trial.candidate}: {outcome}, {reason}")

    async def _swap(self, version: Version) -> bool:
        """Let a promoted version take over once it answers, and say whether it did.

        If it cannot be served, the old one stays current.
        """
        before = self._fleet.served()[0].version.name
        try:
            if not self._fleet.serves(version.name) and not await self._bring_up(version):
                await self._make_room(version)
                return False
            engine = self._fleet.engine(version.name)
            if engine.status.state != "ready":
                engine.require_hope()
                return False
        except (AssistantError, OSError) as error:
            await self._fleet.retire(version.name)
            if self._registry.current == version:  # else somebody promoted another one meanwhile
                reason = f"{version.name} could not be served: {error}"
                self._registry.promote(before, reason, instead=True)
            raise EngineError(
                f"{version.name} could not be served, so {before} stays: {error}"
            ) from error
        self._waits = ""
        self._fleet.lead(version.name)
        self._report(f"{version.name} answers now; {before} finishes what it began")
        await self._fleet.retire(before)
        return True

    async def _attend(self, trial: Trial | None) -> None:
        """Serve the candidate on trial beside the current version, and nothing else."""
        main, *others = self._fleet.served()
        wanted = {trial.candidate} if trial else {self._fleet.fixed_candidate}
        for served in others:
            if served.version.name not in wanted:
                self._report(f"{served.version.name} is no longer needed")
                await self._fleet.retire(served.version.name)
        if not trial or main.status.state != "ready":
            return
        try:
            if not self._fleet.serves(trial.candidate):
                if not await self._bring_up(self._registry.get(trial.candidate)):
                    return
                self._report(f"{trial.candidate} is on trial against {trial.against}")
            self._fleet.engine(trial.candidate).require_hope()
        except (AssistantError, OSError) as error:
            await self._fleet.retire(trial.candidate)
            await asyncio.to_thread(
                self._end, trial, "withdrawn", f"it could not be served: {error}"
            )

    async def _make_room(self, version: Version) -> None:
        if self._waits != version.name:
            self._report(f"{version.name} starts once another engine has finished what it began")
        self._waits = version.name
        for served in self._fleet.served()[SERVED_ON_CPU - 1 :]:
            await self._fleet.retire(served.version.name)

    async def _bring_up(self, version: Version) -> bool:
        """Serve a version, and say whether there was room for its engine."""
        if self._fleet.take_back(version.name):
            return True
        if not self._fleet.has_room:
            return False
        await asyncio.to_thread(self._registry.verify_served, version)
        await self._fleet.serve(version)
        return True
