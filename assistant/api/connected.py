"""Nothing is done for a client that has gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from assistant.errors import EngineError


class ClientLeft(EngineError):
    """Nobody waits for the answer any more."""

    def __init__(self) -> None:
        super().__init__("The client closed the connection.", 499)


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """A block that is given up when the client disconnects. Raises ClientLeft then.

    The whole request must have been received: what else comes is taken for nothing.
    """
    task, left = asyncio.current_task(), False
    assert task is not None

    def leave(_gone: "asyncio.Future[None]") -> None:
        nonlocal left
        left = True
        task.cancel()

    gone = asyncio.ensure_future(_disconnected(receive))
    gone.add_done_callback(leave)
    try:
        yield
    except asyncio.CancelledError:
        if left and not task.uncancel():  # nobody else cancelled it, too
            raise ClientLeft from None
        raise
    finally:
        gone.remove_done_callback(leave)
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
