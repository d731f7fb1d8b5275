"""ASGI applications on real sockets, in a thread of the test."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from assistant.api.bounded_http import BoundedHttp


@contextlib.contextmanager
def served(app: Any, port: int = 0) -> Iterator[str]:
    """The base address of an application, served until the block is left."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            app, http=BoundedHttp, log_level="error", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the application did not start"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def eventually(there: Any, seconds: float = 5) -> bool:
    """Whether something comes true within some seconds."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if there():
            return True
        time.sleep(0.05)
    return False
