"""Work for a client is given up when it leaves, and for no other reason."""

import asyncio
from typing import Any

import pytest

from assistant.api.connected import ClientLeft, while_connected


class Client:
    """Sends the rest of a request, then nothing until it leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self._sent = False

    async def receive(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            return {"type": "http.request"}
        await self.left.wait()
        return {"type": "http.disconnect"}


def test_what_a_client_waits_for_is_done():
    async def work() -> str:
        client = Client()
        async with while_connected(client.receive):
            await asyncio.sleep(0.01)
        client.left.set()
        await asyncio.sleep(0.01)  # it is too late to give up anything
        return "done"

    assert asyncio.run(work()) == "done"


def test_work_is_given_up_for_a_client_that_left():
    async def work() -> int | None:
        client = Client()
        asyncio.get_running_loop().call_later(0.01, client.left.set)
        with pytest.raises(ClientLeft):
            async with while_connected(client.receive):
                await asyncio.sleep(60)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(work()) == 0  # the task itself lives on


def test_who_is_stopped_is_not_told_that_a_client_left():
    async def work(client: Client) -> None:
        async with while_connected(client.receive):
            await asyncio.sleep(60)

    async def stopped() -> None:
        task = asyncio.create_task(work(Client()))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())


def test_a_failure_within_is_its_own():
    async def work() -> None:
        async with while_connected(Client().receive):
            raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        asyncio.run(work())
