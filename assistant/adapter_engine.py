"""Versions of one family on one engine: its weights are those of the first, the rest are adapters.

For GPUs, where vLLM serves adapters well and a second engine would need its own share of memory. On
a CPU every version has an engine with its merged weights (docs/serving.md says why).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import aiohttp

from assistant.engine import Engine, Status
from assistant.errors import EngineError, ModelError
from assistant.local_engine import LocalEngine
from assistant.machine import EnginePlan
from assistant.version import Version

FOLLOW_SECONDS = 0.2
RETRY_SECONDS = 1
HASH_DIGITS = 12
LOAD_SECONDS = 60
RANKS = (64, 128, 256, 320, 512)  # that vLLM has buffers for; every adapter is padded to it


@dataclass
class Host:
    """An engine with a family's first weights, which runs while a version is served by it."""

    engine: LocalEngine
    guests: list["AdapterEngine"] = field(default_factory=list)

    async def enter(self, guest: "AdapterEngine") -> None:
        """Serve one more; the first one starts the engine."""
        self.guests.append(guest)
        if len(self.guests) == 1:
            await self.engine.start()

    async def leave(self, guest: "AdapterEngine") -> None:
        """Serve one less; with the last one the engine ends."""
        self.guests.remove(guest)
        if not self.guests:
            await self.engine.stop()


class Hosts:
    """The engines of all families that are served."""

    def __init__(self, start: Callable[[Version, EnginePlan], LocalEngine]) -> None:
        self._start = start
        self._hosts: dict[tuple[str, int], Host] = {}

    def of(self, version: Version, first: Version, plan: EnginePlan) -> Host:
        """The engine that can serve a version of `first`'s family; a new one where none does."""
        rank = version.adapter.rank if version.adapter else 0
        room = next(size for size in RANKS if size >= rank)
        self._hosts = {key: host for key, host in self._hosts.items() if host.guests}
        for (content, size), host in self._hosts.items():
            if content == first.content_hash and size >= room:
                return host
        flags = (*plan.flags, "--max-lora-rank", str(room))
        host = Host(self._start(first, replace(plan, flags=flags)))
        self._hosts[first.content_hash, room] = host
        return host


class AdapterEngine(Engine):
    """One version on its family's engine: as an adapter, or, the first one, as the weights."""

    def __init__(
        self, version: Version, host: Host, check: Callable[[], None] = lambda: None
    ) -> None:
        """`check` raises ModelError where the adapter is damaged."""
        super().__init__(version, host.engine.url)
        self._host = host
        self._check = check
        self.calls_tools = host.engine.calls_tools
        self._follower: asyncio.Task[None] | None = None

    @property
    def served_as(self) -> str:
        """Named by its content, too: vLLM finds what it has read before by an adapter's name."""
        if self.version.adapter is None:
            return self.version.name
        return f"{self.version.name}-{self.version.content_hash[:HASH_DIGITS]}"

    async def start(self) -> None:
        """Enter the engine, and follow how it is doing."""
        await self._host.enter(self)
        self._session = self._host.engine.session()
        self._follower = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Leave the engine, which frees the adapter."""
        if self._follower:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self.version.adapter and self._host.engine.status.state == "ready":
            await self._tell("unload", {"lora_name": self.served_as})
        await super().stop()
        await self._host.leave(self)

    def _count(self, more: int) -> None:
        super()._count(more)
        self._host.engine._count(more)  # else it looks idle to who watches it

    async def metrics(self) -> str:
        """What the engine counts, told once for all that it serves."""
        return await super().metrics() if self._host.guests[:1] == [self] else ""

    async def _follow(self) -> None:
        known = None
        while True:
            status = self._host.engine.status
            if status is not known:  # an engine that started anew knows no adapter
                await self._become(status)
                known = status if self.status.state == status.state else None
            await asyncio.sleep(FOLLOW_SECONDS if known else RETRY_SECONDS)

    async def _become(self, status: Status) -> None:
        refused = await self._load() if status.state == "ready" else None
        if refused:
            self.failures += 1
            self._set("failed", refused)
        else:
            self.failures = self._host.engine.failures
            self._set(status.state, status.detail)

    async def _load(self) -> str | None:
        """Why the engine does not take the adapter; None if it does, or needs none."""
        adapter = self.version.adapter
        if adapter is None:
            return None
        try:
            await asyncio.to_thread(self._check)
        except (ModelError, OSError) as error:
            return str(error).removesuffix(".")
        folder = str(self.version.path / adapter.folder)
        await self._tell("unload", {"lora_name": self.served_as})  # never changed in place
        return await self._tell("load", {"lora_name": self.served_as, "lora_path": folder})

    async def _tell(self, what: str, body: dict[str, str]) -> str | None:
        assert self._session is not None
        patience = aiohttp.ClientTimeout(total=LOAD_SECONDS)
        url = f"{self.url}/v1/{what}_lora_adapter"
        try:
            async with self._session.post(url, json=body, timeout=patience) as response:
                said = await response.text()
                return None if response.status == 200 else f"the adapter was refused: {said[:300]}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"the adapter could not be loaded ({type(error).__name__})"


def first_of_family(version: Version, find: Callable[[str], Version]) -> Version:
    """The version whose weights an engine loads to serve another one.

    `find` gets a version by name. Raises EngineError where that one is not what the adapter was
    made for; the version can still be served from its own weights.
    """
    if version.adapter is None:
        return version
    first = find(version.adapter.of)
    if first.content_hash != version.adapter.of_hash:
        raise EngineError(f"{first.name} is not the version that {version.name} was trained from.")
    return first
