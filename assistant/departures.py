"""Engines that get no new questions: each ends after its last answer, unless it is taken back."""

import asyncio
import logging

from assistant.engine import Engine


class Departures:
    """The engines that leave; nobody has to wait for them."""

    def __init__(self) -> None:
        self._leaving: dict[Engine, asyncio.Task[None]] = {}
        self._ending: set[Engine] = set()  # for which it is too late to be taken back

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Every one that still runs."""
        return tuple(self._leaving)

    def add(self, engine: Engine) -> None:
        """Let one finish its answers, then end it."""
        self._leaving[engine] = asyncio.create_task(self._let_go(engine))

    def take_back(self, name: str) -> Engine | None:
        """The engine of that version, which stays, if it can still answer; the last to leave."""
        for engine, leaving in reversed(self._leaving.items()):
            can_answer = engine.status.state == "ready" and engine not in self._ending
            if engine.version.name == name and can_answer:
                leaving.cancel()  # while it waits: nothing awaits between that wait and `_ending`
                del self._leaving[engine]
                return engine
        return None

    async def end(self) -> None:
        """End all of them now, whatever they answer."""
        for engine in self._leaving.keys() - self._ending:
            self._leaving[engine].cancel()
        await asyncio.gather(*self._leaving.values(), return_exceptions=True)
        await asyncio.gather(*(engine.stop() for engine in self._leaving))
        self._leaving.clear()

    async def _let_go(self, engine: Engine) -> None:
        await engine.drained()
        self._ending.add(engine)
        try:
            await engine.stop()
        except Exception:  # nobody waits for this task, so it is said here
            logging.getLogger(__name__).exception("Ending an engine failed")
        finally:
            self._ending.remove(engine)
            del self._leaving[engine]
