"""Chat: questions and answers are stored, whole or as far as they came."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from assistant.chat import Chat, Sampling
from assistant.errors import EngineError, NotReady, NotServed
from assistant.feedback.store import FeedbackStore
from assistant.fleet import Fleet
from assistant.prompts import text_hash
from assistant.registry import Registry
from assistant.settings import Settings
from tests.assistant.doors import ANNS_CALLS, opened
from tests.assistant.feedback.said import ANN
from tests.assistant.test_fleet import settled
from tests.serving import served
from tests.upstream import Upstream


def converse(tmp_path: Path, work: Any) -> None:
    """Run `work(chat, conversation, upstream)` over a scripted engine and a real store."""
    upstream = Upstream()

    async def run(url: str) -> None:
        settings = Settings(home=tmp_path, engine_url=(url,))
        fleet = Fleet(settings, Registry(tmp_path), report=str)
        await fleet.start()
        with FeedbackStore(settings.database) as store:
            await settled(fleet, ["ready"])
            conversation = store.conversations.start(ANN, "chat").id
            await work(Chat(store, fleet, opened(settings.database)), conversation, upstream)
        await fleet.stop()

    with served(upstream.app) as url:
        asyncio.run(run(url))


def test_an_answer_grows_and_is_stored_with_what_made_it(tmp_path: Path):
    async def work(chat: Chat, conversation: str, upstream: Upstream) -> None:
        question = await chat.ask(conversation, None, "hi", "Be kind.")
        sampling = Sampling(temperature=0.1, max_tokens=9)
        drafts = [draft async for draft in chat.answer(question, sampling, ANNS_CALLS)]
        assert [d.text for d in drafts] == ["one ", "one two ", *["one two three"] * 2]
        stored = drafts[-1].message
        path = chat.store.conversations.path(stored.id)
        assert [(m.role, m.content) for m in path] == [
            *(("system", "Be kind."), ("user", "hi"), ("assistant", "one two three"))
        ]
        assert upstream.asked[-1]["messages"] == [m.turn for m in path[:-1]]
        made = stored.generation
        assert (made.version, made.finish_reason) == ("tiny", "stop")
        assert made.system_prompt_hash == text_hash("Be kind.")
        assert made.sampling == {"temperature": 0.1, "top_p": 0.95, "max_tokens": 9}
        assert (made.prompt_tokens, made.completion_tokens) == (5, 3)
        assert 0 <= made.first_token_ms <= made.total_ms

    converse(tmp_path, work)


def test_what_is_thought_comes_before_the_answer_and_is_not_stored(tmp_path: Path):
    async def work(chat: Chat, conversation: str, _: Upstream) -> None:
        question = await chat.ask(conversation, None, "think", "")
        drafts = [draft async for draft in chat.answer(question, Sampling(), ANNS_CALLS)]
        assert (drafts[0].text, drafts[0].thoughts) == ("", "Hm.")
        assert (drafts[-2].text, drafts[-2].thoughts) == ("one two three", "Hm.")
        assert drafts[-1].message.content == "one two three"

    converse(tmp_path, work)


def test_an_answer_is_stored_beside_what_else_is_answered_and_even_if_cancelled(tmp_path: Path):
    async def work(chat: Chat, conversation: str, _: Upstream) -> None:
        question = await chat.ask(conversation, None, "hi", "")
        add, storing, go = chat.store.conversations.add, asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def slowly(*said: Any) -> Any:
            loop.call_soon_threadsafe(storing.set)
            assert go.wait(5), "the loop is held up"
            return add(*said)

        chat.store.conversations.add = slowly  # type: ignore[method-assign]

        async def answer() -> None:
            async for _ in chat.answer(question, Sampling(), ANNS_CALLS):
                pass

        answering = asyncio.create_task(answer())
        await asyncio.wait_for(storing.wait(), 5)  # so the loop still runs
        answering.cancel()
        await asyncio.sleep(0.05)
        assert not answering.done()  # or somebody could ask for what is not there yet
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await answering
        stored = chat.store.conversations.tree(conversation)
        assert [m.content for m in stored] == ["hi", "one two three"]

    converse(tmp_path, work)


def test_a_stopped_answer_is_stored_as_far_as_it_came(tmp_path: Path):
    async def work(chat: Chat, conversation: str, upstream: Upstream) -> None:
        question = await chat.ask(conversation, None, "stall", "")
        answer = chat.answer(question, Sampling(), ANNS_CALLS)
        assert (await anext(answer)).text == "one "
        await answer.aclose()
        stored = chat.store.conversations.tree(conversation)[-1]
        assert (stored.content, stored.generation.finish_reason) == ("one ", "interrupted")
        for _ in range(100):
            if not upstream.running:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the engine was not freed")

    converse(tmp_path, work)


@pytest.mark.parametrize(("script", "finish"), [("complain", "error"), ("break", "interrupted")])
def test_an_engine_that_fails_half_way_keeps_the_half(tmp_path: Path, script: str, finish: str):
    async def work(chat: Chat, conversation: str, _upstream: Upstream) -> None:
        question = await chat.ask(conversation, None, script, "")
        with pytest.raises(EngineError):
            [draft async for draft in chat.answer(question, Sampling(), ANNS_CALLS)]
        stored = chat.store.conversations.tree(conversation)[-1]
        assert (stored.content, stored.generation.finish_reason) == ("one ", finish)

    converse(tmp_path, work)


def test_nothing_is_stored_when_there_is_no_answer(tmp_path: Path):
    async def work(chat: Chat, conversation: str, _upstream: Upstream) -> None:
        question = await chat.ask(conversation, None, "refuse", "")
        for model, error in (("assistant", EngineError), ("gone", NotServed)):
            with pytest.raises(error):
                [draft async for draft in chat.answer(question, Sampling(), ANNS_CALLS, model)]
        assert [m.content for m in chat.store.conversations.tree(conversation)] == ["refuse"]

    converse(tmp_path, work)


def test_a_question_waits_while_the_model_loads_and_is_told_what_for(tmp_path: Path):
    async def run(url: str, port: int) -> list[str]:
        settings = Settings(home=tmp_path, engine_url=(url,))
        fleet = Fleet(settings, Registry(tmp_path), report=str)
        with FeedbackStore(settings.database) as store:
            chat = Chat(store, fleet, opened(store.url))
            chat.require_hope()
            waited = chat.until_ready()
            told = [await anext(waited)]
            await fleet.start()
            told.append(await anext(waited))
            with served(Upstream().app, port):
                told += [detail async for detail in waited]
                chat.require_ready()
                await fleet.stop()
        return told

    with served(Upstream().app) as url:
        port = int(url.rsplit(":", 1)[1])
    told = asyncio.run(run(url, port))
    assert told[:2] == ["starting", f"the engine at {url} does not answer yet"]


def test_nothing_waits_for_a_model_that_cannot_be_loaded(tmp_path: Path):
    async def run() -> None:
        settings = Settings(home=tmp_path, model="nothing")
        fleet = Fleet(settings, Registry(tmp_path), report=str)
        with FeedbackStore(settings.database) as store:
            chat = Chat(store, fleet, opened(store.url))
            await fleet.start()
            with pytest.raises(NotReady, match="neither a version"):
                assert [detail async for detail in chat.until_ready()] == []
            with pytest.raises(NotReady, match="neither a version"):
                chat.require_hope()
            await fleet.stop()

    asyncio.run(run())
