"""What every answer of the API carries: an id to ask about, and how long it took."""

import re
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/v1/"
VERSION = "2020-10-01"  # of OpenAI's API, as its own server says
SLASHES = re.compile("/{2,}")


class Stamp:
    """Adds `x-request-id`, `openai-processing-ms` and `openai-version`; mends doubled slashes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; the time is that until the answer begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = SLASHES.sub("/", scope["path"])
        if not path.startswith(API):
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        request_id = f"req_{secrets.token_hex(16)}"
        scope = {**scope, "path": path, "raw_path": path.encode()}

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.monotonic() - began) * 1000))
                headers["openai-version"] = VERSION
            await send(message)

        await self._app(scope, receive, stamped)
