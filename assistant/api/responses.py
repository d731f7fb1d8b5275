"""/v1/responses: whole, streamed or in the background; gone on from, read, cancelled, deleted."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any

import aiohttp
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from fastapi.responses import Response as HttpResponse
from sqlalchemy import Connection

from assistant import sse
from assistant.access.callers import Caller
from assistant.api import requests
from assistant.api.authorization import Gate
from assistant.api.calls import Call, Calls
from assistant.api.chat_completions import PATH as ENGINE_PATH
from assistant.api.connected import while_connected
from assistant.api.openapi import gives, takes
from assistant.api.relay import EventStream
from assistant.api.response_events import Making, begun
from assistant.api.schemas.answers import DeletedResponse, MadeResponse
from assistant.api.schemas.responses import AskedResponse, ResponseRequest
from assistant.chat import origin
from assistant.errors import AssistantError, EngineError, Invalid, StoreError, told
from assistant.feedback.completions import Choice
from assistant.feedback.responses import LOST
from assistant.feedback.store import FeedbackStore

PATH = "/v1/responses"
ONE = PATH + "/{response_id}"
SURFACE = "api"
LOOK_SECONDS = 1  # how often one in the background sees whether it is still wanted


class Background:
    """The responses being made while nobody waits for them."""

    def __init__(self) -> None:
        self._working: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Work on, and remember it until it is done."""
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def stop(self) -> None:
        """Give up what is not finished."""
        working = list(self._working)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def router(calls: Calls, store: FeedbackStore, gate: Gate, background: Background) -> APIRouter:
    """Routes of responses; only its own exist for a caller."""
    routes = APIRouter()
    Asking = Annotated[Caller, Depends(gate("chat"))]  # noqa: N806 - a type
    Writing = Annotated[Caller, Depends(gate.writing("chat"))]  # noqa: N806 - a type

    @routes.post(
        PATH, openapi_extra=takes(ResponseRequest), responses=gives(MadeResponse, streams=True)
    )
    async def create(request: Request, caller: Asking) -> HttpResponse:
        sent = ResponseRequest.read(await requests.read_object(request))
        before = await asyncio.to_thread(_before, store, caller, sent.previous_response_id)
        asked = sent.asking(before)
        async with AsyncExitStack() as around:
            call = await calls.begin(around, request, caller, ENGINE_PATH, asked)
            made = _Made(call, asked, store)
            if sent.background:
                await made.keep()
                background.begin(made.in_background(around.pop_all()))
                return JSONResponse(made.response)
            async with while_connected(request.receive):
                answer = await around.enter_async_context(call.post())
            if sent.stream:
                return EventStream(made.streamed(around.pop_all(), answer))
            async with while_connected(request.receive):
                await made.whole(answer)
        return JSONResponse(made.response)

    @routes.get(ONE, response_model=None, responses=gives(MadeResponse))
    async def read(response_id: str, caller: Asking) -> dict[str, Any]:
        return (await asyncio.to_thread(store.responses.get, response_id, caller.owner)).body

    @routes.post(ONE + "/cancel", response_model=None, responses=gives(MadeResponse))
    async def cancel(response_id: str, caller: Writing) -> dict[str, Any]:
        return (await asyncio.to_thread(store.responses.cancel, response_id, caller.owner)).body

    @routes.delete(ONE, response_model=None, responses=gives(DeletedResponse))
    async def delete(response_id: str, caller: Writing) -> dict[str, Any]:
        kept = await asyncio.to_thread(store.responses.get, response_id, caller.owner)
        erase = store.conversations.erase
        await asyncio.to_thread(erase, kept.conversation_id, caller.owner)
        return {"object": "response", "id": response_id, "deleted": True}

    return routes


def _before(store: FeedbackStore, caller: Caller, previous: str | None) -> list[dict[str, Any]]:
    """The turns that a response goes on from, without the instructions it was given."""
    if previous is None:
        return []
    kept = store.responses.get(previous, caller.owner)
    if kept.status not in ("completed", "incomplete"):
        raise Invalid(
            f"The response {previous!r} is {kept.status}, so nothing can go on from it.",
            "previous_response_id",
        )
    completion = store.completions.get(previous, caller.owner)
    answer, _ = completion.choices[0]
    turns = [message.turn for message in store.conversations.path(answer)]
    return turns[1:] if kept.body["instructions"] else turns


class _Made:
    """One response in the making, and where it is kept."""

    def __init__(self, call: Call, asked: AskedResponse, store: FeedbackStore) -> None:
        self.response = begun(asked.request, call.engine.version.name)
        self._call = call
        self._asked = asked
        self._store = store
        self._making = Making(self.response)
        self._conversation: str | None = None
        self._first_ms: int | None = None

    async def keep(self) -> None:
        """Store it before there is an answer."""
        await asyncio.to_thread(self._keep)

    async def whole(self, answer: aiohttp.ClientResponse) -> None:
        """Make it to its end. Raises EngineError."""
        async with aclosing(self._events(answer)) as events:
            async for _ in events:
                pass

    async def streamed(
        self, around: AsyncExitStack, answer: aiohttp.ClientResponse
    ) -> AsyncGenerator[bytes]:
        """Its events as they are sent; a failure is one of them."""
        async with around:
            try:
                async with aclosing(self._events(answer)) as events:
                    async for event in events:
                        yield _sent(event)
            except AssistantError as error:
                for event in self._making.fail(told(error)):
                    yield _sent(event)

    async def in_background(self, around: AsyncExitStack) -> None:
        """Make it while nobody waits, until it is done or no longer wanted."""
        work = asyncio.create_task(self._work(around))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=LOOK_SECONDS)
                if not work.done() and not await self._wanted():
                    work.cancel()
        except asyncio.CancelledError:  # the program stops
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._note_failure(LOST)
            raise
        await asyncio.gather(work, return_exceptions=True)

    async def _wanted(self) -> bool:
        try:
            unfinished = self._store.responses.unfinished
            return await asyncio.to_thread(unfinished, self.response["id"])
        except StoreError:  # it is looked at again
            return True

    async def _work(self, around: AsyncExitStack) -> None:
        async with around:
            try:
                answer = await around.enter_async_context(self._call.post())
                self.response["status"] = "in_progress"
                await asyncio.to_thread(self._store.responses.change, self.response)
                await self.whole(answer)
            except AssistantError as error:
                await self._note_failure(told(error))
            except Exception:
                logging.getLogger(__name__).exception("A response in the background failed")
                await self._note_failure("The server failed; its log says why.")

    async def _note_failure(self, sentence: str) -> None:
        for _ in self._making.fail(sentence):
            pass  # nobody listens to its events
        try:
            await asyncio.to_thread(self._store.responses.change, self.response)
        except StoreError as error:
            name = self.response["id"]
            logging.getLogger(__name__).error("%s is not noted as failed: %s", name, error)

    async def _events(self, answer: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any]]:
        for event in self._making.begin():
            yield event
        async with aclosing(_chunks(answer)) as chunks:
            async for chunk in chunks:
                self._call.used.hear(chunk)
                for event in self._heard(chunk):
                    yield event
        self._call.used.finished = True
        *events, last = self._making.end()
        for event in events:
            yield event
        if self._asked.request.store:
            await asyncio.to_thread(self._keep_answer)
        yield last

    def _heard(self, chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for event in self._making.hear(chunk):
            if self._first_ms is None:
                self._first_ms = round(self._call.seconds * 1000)
            yield event

    def _keep(self) -> None:
        owner = self._call.caller.owner
        self._conversation = self._store.conversations.start(owner, SURFACE).id
        self._store.responses.keep(owner, self._conversation, self.response)

    def _keep_answer(self) -> None:
        making, turns, request = self._making, self._asked.turns, self._asked.request
        usage = self.response["usage"] or {}
        names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
        counted = {ours: usage[theirs] for ours, theirs in names.items() if theirs in usage}
        made = origin(
            *(self._call.engine, turns, request.drawing(), counted),
            finish_reason=making.finish,
            first_token_ms=self._first_ms,
            total_ms=round(self._call.seconds * 1000),
        )
        kept, owner = self._store.responses, self._call.caller.owner
        conversation = self._conversation or self._store.conversations.start(owner, SURFACE).id

        def response(connection: Connection) -> bool:
            if self._conversation is None:
                return kept.added(connection, owner, conversation, self.response)
            return kept.changed(connection, self.response)  # if not cancelled or deleted meanwhile

        self._store.completions.keep(
            *(self.response["id"], conversation, owner, request.model),
            *(turns, [Choice(making.text, made, making.calls or None)], request.metadata),
            after=response,
        )


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any]]:
    """The engine's chunks. Raises EngineError where it breaks off or complains."""
    try:
        async with aclosing(sse.blocks(answer)) as blocks:
            async for block in blocks:
                chunk = sse.payload(block) or {}
                if "error" in chunk:
                    raise EngineError(sse.complaint(chunk))
                yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineError(f"The engine broke off ({type(error).__name__}).", 503) from error


def _sent(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + sse.event(event)
