"""The rollout: a promoted version takes over without dropping an answer, or the old one stays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from assistant.chat import Sampling
from assistant.errors import AssistantError, EngineError
from assistant.registry import Registry
from tests.assistant.doors import ANNS_CALLS
from tests.assistant.feedback.said import ANN
from tests.assistant.rolling import House, cannot_start, children, house, is_damaged


def test_a_promotion_drops_no_answer(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            await program.rollout.start()
            conversation = program.store.conversations.start(ANN, "chat").id
            question = await program.chat.ask(conversation, None, "slow", "")
            slow = program.chat.answer(question, Sampling(), ANNS_CALLS)
            assert (await anext(slow)).text == "one "
            program.registry.promote("v2")
            answered = []
            while answered[-1:] != ["v2"]:
                answered.append(await program.answered_by())
            assert set(answered) == {"v1", "v2"}
            assert answered == sorted(answered)  # nobody goes back to the old one
            assert children() == ["v1", "v2"]
            assert program.served == ["v2"]
            late = [draft async for draft in slow][-1]
            made = late.message.generation
            assert (late.text, made.finish_reason, made.version) == ("one two three", "stop", "v1")
            await program.until(lambda: children() == ["v2"])

    asyncio.run(run())


def test_going_back_swaps_as_well(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            assert program.registry.rollback().name == "v0"
            await program.steps_until(lambda: program.ready == ["v0"])
            await program.until(lambda: children() == ["v0"])
            assert await program.answered_by() == "v0"

    asyncio.run(run())


@pytest.mark.parametrize("harm", [cannot_start, is_damaged])
def test_a_version_that_cannot_be_served_leaves_the_old_one_serving_and_current(
    home: Path, harm: Callable[[House, str], None]
):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            pid = program.fleet.engine().pid
            harm(program, "v2")
            program.registry.promote("v2")
            with pytest.raises(EngineError, match="v2 could not be served, so v1 stays"):
                await program.steps_until(lambda: False)
            assert (program.current, program.served) == ("v1", ["v1"])
            await program.until(lambda: children() == ["v1"])
            assert program.fleet.engine().pid == pid
            assert await program.answered_by() == "v1"
            why = program.registry.history()[-1]
            assert (why["from"], why["to"]) == ("v2", "v1")
            assert why["reason"].startswith("v2 could not be served: ")
            assert program.registry.rollback().name == "v0"  # and not the one that does not work
            await program.steps_until(lambda: program.served == ["v0"])

    asyncio.run(run())


@asynccontextmanager
async def starting_another(home: Path) -> AsyncIterator[House]:
    """A program that answers with v1 while v2, which is current, does not get ready."""
    async with house(home) as program:
        await program.until(lambda: program.ready == ["v1"])
        (program.registry.get("v2").path / "never-ready").touch()
        program.registry.promote("v2")
        await program.steps_until(lambda: program.served == ["v1", "v2"])
        yield program


def test_what_somebody_promotes_while_another_starts_is_served_instead(home: Path):
    async def run() -> None:
        async with starting_another(home) as program:
            program.registry.promote("v3")
            await program.steps_until(lambda: program.ready == ["v3"])
            assert program.current == "v3"

    asyncio.run(run())


@asynccontextmanager
async def answering_for_long(program: House) -> AsyncIterator[None]:
    """While the current version gives an answer that does not end."""
    conversation = program.store.conversations.start(ANN, "chat").id
    question = await program.chat.ask(conversation, None, "stall", "")
    endless = program.chat.answer(question, Sampling(), ANNS_CALLS)
    await anext(endless)
    try:
        yield
    finally:
        await endless.aclose()


def test_going_back_to_an_engine_that_still_answers_is_done_at_once(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            old = program.fleet.engine()
            async with answering_for_long(program):
                program.registry.promote("v2")
                await program.steps_until(lambda: program.ready == ["v2"])
                assert program.registry.rollback().name == "v1"
                await asyncio.wait_for(program.rollout.step(), 5)
                assert program.served == ["v1"]
                assert program.fleet.engine() is old
                assert await program.answered_by() == "v1"
                await program.until(lambda: children() == ["v1"])
            await asyncio.sleep(1)  # nobody ends it after its answer
            assert await program.answered_by() == "v1"

    asyncio.run(run())


def test_going_back_while_another_version_starts_leaves_no_trace_of_it(home: Path):
    async def run() -> None:
        async with starting_another(home) as program:
            assert program.registry.rollback().name == "v1"
            await asyncio.wait_for(program.rollout.step(), 5)
            assert program.ready == program.served == ["v1"]
            await program.until(lambda: children() == ["v1"])

    asyncio.run(run())


def test_a_third_version_waits_for_the_last_answer_and_what_is_wanted_may_change(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            async with answering_for_long(program):
                program.registry.promote("v2")
                await program.steps_until(lambda: program.ready == ["v2"])
                program.registry.promote("v3")
                for _ in range(5):
                    await asyncio.wait_for(program.rollout.step(), 5)
                assert (program.served, children()) == (["v2"], ["v1", "v2"])
                assert len([line for line in program.said if line.startswith("v3 starts")]) == 1
            await program.steps_until(lambda: program.ready == ["v3"])
            await program.until(lambda: children() == ["v3"])

    asyncio.run(run())


def test_the_program_follows_by_itself_and_complains_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("assistant.rollout.FOLLOW_SECONDS", 0.02)

    async def run() -> None:
        async with house(home) as program:
            await program.rollout.start()
            await program.until(lambda: program.ready == ["v1"])
            trial = program.trials.begin("v2", "v1")
            file = program.trials.folder / f"{trial.id}.json"
            whole = file.read_text()
            file.write_text("{half")
            await program.until(lambda: "unreadable" in program.said[-1])
            await asyncio.sleep(0.5)
            assert len([line for line in program.said if "unreadable" in line]) == 1
            file.write_text(whole)
            await program.until(lambda: program.ready == ["v1", "v2"])

    asyncio.run(run())


def test_a_fixed_model_is_not_followed(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assistant.rollout.FOLLOW_SECONDS", 0.02)

    async def run() -> None:
        async with house(home, model="v0") as program:
            await program.until(lambda: program.ready == ["v0"])
            assert not program.fleet.follows
            await program.rollout.start()
            program.registry.promote("v2")
            await asyncio.sleep(0.5)
            assert program.served == ["v0"]

    asyncio.run(run())


def test_where_nothing_could_be_served_another_version_gets_its_chance(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.fleet.brought_up()
            assert program.served == []
            assert "is not the file that was registered" in program.fleet.status.detail
            for _ in range(2):
                await program.rollout.step()
            assert program.served == []
            is_damaged(program, "v0")
            program.registry.promote("v0")
            with pytest.raises(AssistantError, match="is not the file that was registered"):
                await program.rollout.step()
            await program.rollout.step()  # its files are not read again every second
            program.registry.promote("v2")
            await program.steps_until(lambda: program.ready == ["v2"])
            assert await program.answered_by() == "v2"

    (Registry(home).get("v1").path / "model.safetensors").write_text("WEIGHTS")
    asyncio.run(run())


def test_a_program_stopped_while_an_old_engine_finishes_leaves_no_engine_behind(home: Path):
    async def run() -> psutil.Process:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            old = psutil.Process(program.fleet.engine().pid)
            conversation = program.store.conversations.start(ANN, "chat").id
            question = await program.chat.ask(conversation, None, "stall", "")
            endless = program.chat.answer(question, Sampling(), ANNS_CALLS)
            await anext(endless)
            await program.rollout.start()
            program.registry.promote("v2")
            await program.until(lambda: program.served == ["v2"])
            assert old.is_running()
            await endless.aclose()
        return old

    assert not asyncio.run(run()).is_running()
