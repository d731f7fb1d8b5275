"""Which versions are served, by which engines, and what happens until they are ready."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from assistant.adapter_engine import AdapterEngine, Hosts, first_of_family
from assistant.departures import Departures
from assistant.engine import Engine, Status
from assistant.engine_process import EngineProcess, engines_folder, planned
from assistant.errors import AssistantError, EngineError, NotReady, NotServed
from assistant.local_engine import LocalEngine
from assistant.machine import EnginePlan
from assistant.registry import Registry
from assistant.remote_engine import RemoteEngine, served_by
from assistant.routing import in_order
from assistant.settings import Settings
from assistant.sources import resolve
from assistant.version import Version

ALIAS = "assistant"
SERVED_ON_CPU = 2
RECONNECT_SECONDS = 2
SILENT = 503  # the status of an engine that cannot be reached


@dataclass(frozen=True)
class Served:
    """A version being served, and how its engine is doing."""

    version: Version
    status: Status


class Fleet:
    """The engines of this program. `assistant` names the first one, whatever its version."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        report: Callable[[str], None] = print,
        spare: EngineProcess | None = None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._report = report
        self._spare = spare  # for the first engine
        self._hosts = Hosts(self._alone)
        self._engines: list[Engine] = []
        self._departures = Departures()  # retired, still finishing their answers
        self._starting: asyncio.Task[None] | None = None
        self._quickening: asyncio.Task[None] | None = None
        self._hurried: Engine | None = None  # whose place a compiled engine is about to take
        self._plan: EnginePlan | None = None
        self.fixed_candidate: str | None = None  # the second version that the settings ask for
        self._preparing = Status("loading", "starting", time.monotonic())

    async def start(self) -> None:
        """Bring the wanted versions up in the background; returns at once."""
        self._starting = asyncio.create_task(self._bring_up())

    async def brought_up(self) -> None:
        """Wait until the engines wanted at the start were started, ready or not."""
        assert self._starting is not None
        await asyncio.shield(self._starting)

    @property
    def quickening(self) -> bool:
        """Whether an engine that was ready soon is about to be replaced by a faster one."""
        return self._quickening is not None and not self._quickening.done()

    @property
    def follows(self) -> bool:
        """Whether promotions and trials change what is served: no fixed model, no remote one."""
        return self._settings.model == "current" and not self._settings.engine_url

    async def stop(self) -> None:
        """Stop every engine."""
        begun = [task for task in (self._starting, self._quickening) if task]
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        stops = (engine.stop() for engine in self._engines)
        await asyncio.gather(*stops, self._departures.end())
        self._engines = []

    @property
    def status(self) -> Status:
        """How the main version is doing, or what is being prepared."""
        return self._main().status if self._engines else self._preparing

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Every engine that runs, those that finish their last answers at the end."""
        return (*self._engines, *self._departures.engines)

    def served(self) -> list[Served]:
        """Every version being served, the main one first."""
        if not self._engines:
            return []
        names = [self._main().version.name, *(engine.version.name for engine in self._engines)]
        firsts = [in_order(self._of(name))[0] for name in dict.fromkeys(names)]
        return [Served(engine.version, engine.status) for engine in firsts]

    def engine(self, model: str = ALIAS) -> Engine:
        """The engine that is asked first; see `engines_of`."""
        return self.engines_of(model)[0]

    def engines_of(self, model: str = ALIAS, talk: str = "") -> list[Engine]:
        """The engines serving `model`, in the order in which to ask them about a conversation.

        Raises NotServed, which says what is served, or NotReady.
        """
        if not self._engines:
            raise NotReady(f"The model is not ready: {self._preparing.detail}.")
        main = self._main()
        name = main.version.name if model == ALIAS else model
        serving = self._of(name)
        if not serving:
            names = ", ".join(served.version.name for served in self.served())
            raise NotServed(
                f"The model {model!r} is not served here; served are: {ALIAS} (= "
                f"{main.version.name}), {names}."
            )
        return in_order(serving, talk)

    def _of(self, name: str) -> list[Engine]:
        return [engine for engine in self._engines if engine.version.name == name]

    def names_of_current(self) -> list[str]:
        """What the current version may be asked by: the alias, and its own name."""
        return [ALIAS, *(served.version.name for served in self.served()[:1])]

    def _main(self) -> Engine:
        """The engine whose version `assistant` names.

        Engines elsewhere may get a new version one by one; while the first one does, another steps
        in.
        """
        if self._settings.engine_url:
            ready = (engine for engine in self._engines if engine.status.state == "ready")
            return next(ready, self._engines[0])
        return self._engines[0]

    def serves(self, name: str) -> bool:
        """Whether an engine for that version runs, ready or not."""
        return any(engine.version.name == name for engine in self._engines)

    @property
    def has_room(self) -> bool:
        """Whether one more engine may run; one that finishes its answers is counted."""
        return len(self.engines) < SERVED_ON_CPU

    async def serve(self, version: Version, *, soon: bool = False) -> None:
        """Start an engine for one more version; returns before it is ready.

        `soon` lets an engine that is not compiled answer until the compiled one is there, where
        memory holds both.
        """
        if not self.has_room:
            raise NotServed(f"No more than {SERVED_ON_CPU} versions are served at once.")
        if self._plan is None:
            self._plan = await asyncio.to_thread(planned, self._settings)
        self._report(f"Engine for {version.name}: {self._plan.summary}")
        twice = soon and self._plan.twice
        plan = self._plan.eager() if twice else self._plan
        await self._add(await self._engine_for(version, plan))
        if twice:
            self._hurried = self._engines[-1]
            quicken = self._quicken(self._hurried, self._plan)
            self._quickening = asyncio.create_task(quicken)

    async def _quicken(self, engine: Engine, plan: EnginePlan) -> None:
        """Put a compiled engine of the same version in an engine's place, once both are ready."""
        name = engine.version.name
        fast = self._alone(engine.version, plan, checked=False)
        try:
            await engine.until_ready()
            await fast.start()
            await fast.until_ready()
            self._engines[self._engines.index(engine)], self._hurried = fast, None
        except EngineError as error:
            self._report(f"{name} is served without being compiled: {error}")
            await fast.stop()
        except asyncio.CancelledError:
            await fast.stop()
            raise
        else:
            self._report(f"{name} is compiled")
            self._departures.add(engine)

    async def _engine_for(self, version: Version, plan: EnginePlan) -> Engine:
        if not plan.adapters:
            return self._alone(version, plan)
        try:
            first = first_of_family(version, self._registry.get)
            await asyncio.to_thread(self._registry.verify_served, first)
            await asyncio.to_thread(self._registry.verify_adapter, version)
        except AssistantError as error:
            self._report(f"{version.name} is served from its own weights: {error}")
            version = first = replace(version, adapter=None)
        check = partial(self._registry.verify_adapter, version)
        return AdapterEngine(version, self._hosts.of(version, first, plan), check)

    def _alone(self, version: Version, plan: EnginePlan, *, checked: bool = True) -> LocalEngine:
        """An engine for whole weights, which whoever starts it has `checked`."""
        spare, self._spare = self._spare, None
        logs, context = engines_folder(self._settings), self._settings.context
        check = partial(self._registry.verify_served, version)
        return LocalEngine(version, plan, logs, context, spare, check, checked=checked)

    def lead(self, name: str) -> None:
        """Let `assistant` name that version from now on."""
        self._engines.sort(key=lambda engine: engine.version.name != name)

    async def retire(self, name: str) -> None:
        """Give a version no new questions; it ends by itself after its last answer."""
        retired = [engine for engine in self._engines if engine.version.name == name]
        self._engines = [engine for engine in self._engines if engine.version.name != name]
        for engine in retired:
            self._departures.add(engine)
        if self._quickening and self._hurried in retired:
            self._quickening.cancel()
            await asyncio.gather(self._quickening, return_exceptions=True)

    def take_back(self, name: str) -> bool:
        """Serve a retired version again, if its engine still answers."""
        engine = self._departures.take_back(name)
        self._engines += [engine] if engine else []
        return engine is not None

    async def _bring_up(self) -> None:
        try:
            if self._settings.engine_url:
                await self._connect()
            else:
                await self._launch()
        except (AssistantError, OSError) as error:
            self._prepare(f"{error}", failed=True)

    async def _launch(self) -> None:
        wanted = [self._settings.model, *filter(None, [self._settings.candidate])]
        for model in wanted[:SERVED_ON_CPU]:
            version = await resolve(model, self._registry, self._prepare)
            self._prepare(f"checking the weights of {version.name}")
            await asyncio.to_thread(self._registry.verify_served, version)
            await self.serve(version, soon=not self._settings.candidate)
        if self._settings.candidate:
            self.fixed_candidate = self._engines[-1].version.name

    async def _connect(self) -> None:
        """Add each remote engine once it answers, whichever order they answer in."""
        urls = [url.rstrip("/").removesuffix("/v1") for url in self._settings.engine_url]

        async def connect(url: str) -> None:
            try:
                name = await self._named_by(url)
            except EngineError as error:
                self._prepare(str(error), failed=True)
                return
            await self._add(RemoteEngine(name, url, self._settings.engine_key))
            self._engines.sort(key=lambda engine: urls.index(engine.url))

        await asyncio.gather(*map(connect, urls))

    async def _named_by(self, url: str) -> str:
        """Ask a remote engine what it serves, for as long as it takes to answer."""
        while True:
            try:
                return await served_by(url, self._settings.engine_key)
            except EngineError as error:
                if error.status != SILENT:
                    raise
                self._prepare(f"the engine at {url} does not answer yet")
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _add(self, engine: Engine) -> None:
        await engine.start()
        self._engines.append(engine)

    def _prepare(self, detail: str, failed: bool = False) -> None:
        self._preparing = Status("failed" if failed else "loading", detail, time.monotonic())
        self._report(detail[:1].upper() + detail[1:])
