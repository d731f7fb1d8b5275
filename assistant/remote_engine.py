"""An OpenAI-compatible server elsewhere."""

import asyncio
import hashlib
import json
from typing import Any

import aiohttp

from assistant.engine import Engine
from assistant.errors import EngineError
from assistant.version import Version

WATCH_SECONDS = 5
MOST_FAILURES = 3  # in a row, after which it is asked nothing until it answers a test
TEMPLATE = "remote"


class Late(EngineError):
    """It did not say in time what it serves."""


class RemoteEngine(Engine):
    """It is only watched, never started or stopped; what it serves may change."""

    healthy = (200, 404)  # Ray Serve has no `/health`; a token proves more

    def __init__(self, name: str, url: str, key: str | None = None) -> None:
        super().__init__(_version(name, url), url)
        self._key = key

    async def start(self) -> None:
        """Watch the server, keeping the status true."""
        self._session = aiohttp.ClientSession(headers=bearing(self._key))
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

    def _headers(self, body: dict[str, Any], request_id: str | None) -> dict[str, str]:
        return super()._headers(body, request_id) | session_of(body)

    async def _watch(self) -> None:
        heard = 0
        while True:
            well = await self._works(heard)
            heard = self.heard
            if well:
                self._failed = 0
                self._set("ready", "ready")
            else:
                self._set("failed", f"{self.url} does not answer")
            await asyncio.sleep(WATCH_SECONDS)

    async def _works(self, heard: int) -> bool:
        """Whether it produces a token, or is late because it gives answers."""
        try:
            name = await served_by(self.url, self._key)
            if name != self.version.name:
                self.version = _version(name, self.url)
            return await self._token()
        except (Late, TimeoutError):
            return self.heard > heard
        except (EngineError, aiohttp.ClientError, OSError):
            return False


def session_of(body: dict[str, Any]) -> dict[str, str]:
    """A header that is the same for all requests of one conversation, for a router to go by."""
    if "cache_salt" not in body:  # asked by this program itself
        return {}
    turns = body.get("messages", [])
    first = next((i for i, turn in enumerate(turns) if turn.get("role") == "user"), 0)
    begins = [body["cache_salt"], turns[: first + 1] or body.get("prompt")]
    drawn = hashlib.sha256(json.dumps(begins).encode())
    return {"X-Session-ID": drawn.hexdigest()[:32]}


def bearing(key: str | None) -> dict[str, str]:
    """The header that shows a key, if there is one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


async def served_by(url: str, key: str | None = None) -> str:
    """The name of what a server serves. Raises EngineError, with status 503 where it is silent."""
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=bearing(key)) as session,
            session.get(f"{url}/v1/models") as response,
        ):
            if response.status >= 500:  # a proxy before a server that still loads
                raise EngineError(f"The engine at {url} is not ready yet.", 503)
            if response.status in (401, 403):
                had = "refuses its key" if key else "asks for a key"
                raise EngineError(f"The engine at {url} {had}: set ASSISTANT_ENGINE_KEY.")
            return str((await response.json())["data"][0]["id"])
    except TimeoutError:
        raise Late(f"The engine at {url} does not answer in time.", 503) from None
    except (aiohttp.ClientConnectionError, OSError):
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
