"""An OpenAI-compatible server elsewhere."""

import asyncio

import aiohttp

from assistant.engine import Engine
from assistant.errors import EngineError
from assistant.version import Version

WATCH_SECONDS = 5
MOST_FAILURES = 3  # in a row, after which it is asked nothing until it answers a test
TEMPLATE = "remote"


class RemoteEngine(Engine):
    """It is only watched, never started or stopped; what it serves may change."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(_version(name, url), url)

    async def start(self) -> None:
        """Watch the server, keeping the status true."""
        self._session = aiohttp.ClientSession()
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching."""
        self._watcher.cancel()
        await asyncio.gather(self._watcher, return_exceptions=True)
        await super().stop()

    def _went(self, well: bool) -> None:
        super()._went(well)
        if self._failed >= MOST_FAILURES:
            self._set("failed", f"{self.url} failed {self._failed} times in a row")

    async def _watch(self) -> None:
        while True:
            try:
                name = await served_by(self.url)
                if name != self.version.name:
                    self.version = _version(name, self.url)
                well = await self.answers()
            except EngineError:
                well = False
            if well:
                self._failed = 0
                self._set("ready", "ready")
            else:
                self._set("failed", f"{self.url} does not answer")
            await asyncio.sleep(WATCH_SECONDS)


async def served_by(url: str) -> str:
    """The name of what a server serves. Raises EngineError, with status 503 where it is silent."""
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/v1/models") as response,
        ):
            if response.status >= 500:  # a proxy before a server that still loads
                raise EngineError(f"The engine at {url} is not ready yet.", 503)
            return str((await response.json())["data"][0]["id"])
    except (aiohttp.ClientConnectionError, TimeoutError, OSError):
        raise EngineError(f"The engine at {url} does not answer yet.", 503) from None
    except (aiohttp.ClientError, ValueError, KeyError, IndexError, TypeError):
        raise EngineError(f"{url} is not an OpenAI-compatible engine.") from None


def _version(name: str, url: str) -> Version:
    """What we know of a version served elsewhere: its name, not its weights or template."""
    return Version(
        name=name,
        kind="remote",
        source=url,
        content_hash=f"remote:{name}",
        template_hash=TEMPLATE,
        files={},
        folder="",
        created_at="",
        notes="Served by a remote engine; its weights and template are not known here.",
    )
