"""A proxy in the same language and with the same libraries as our gateway, which only passes bytes.

What it costs is what no gateway in Python can go below here: `python -m tests.bench.bare_proxy
SOCKET PORT`.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx
import uvicorn

from tests.e2e.product import free_port

PASSED = (b"content-type", b"x-request-id")


class Proxy:
    """An ASGI application without routes, checks, counts or a log."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, and its answer back, piece by piece."""
        if scope["type"] != "http":
            return
        if self._session is None:
            connector = aiohttp.UnixConnector(path=self._socket, limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        asked = self._session.request(
            *(scope["method"], "http://engine" + scope["path"]),
            data=body,
            headers={"Content-Type": "application/json"},
        )
        async with asked as response:
            headers = [pair for pair in response.raw_headers if pair[0].lower() in PASSED]
            start = {"status": response.status, "headers": headers}
            await send({"type": "http.response.start", **start})
            async for piece in response.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def bare_proxy(socket: str) -> Iterator[str]:
    """One that runs, in a process of its own; its address."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.bare_proxy", socket, str(port)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, "the proxy ended"
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{url}/health")
                break
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    uvicorn.run(Proxy(sys.argv[1]), port=int(sys.argv[2]), log_level="warning", access_log=False)
