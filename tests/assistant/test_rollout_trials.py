"""The rollout of a candidate: brought up for its trial, then promoted or withdrawn, and noted."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from assistant import engine
from tests.assistant.rolling import House, cannot_start, children, house, is_damaged


async def on_trial(program: House, candidate: str = "v2") -> None:
    """Put a candidate on trial and wait until both versions answer."""
    program.trials.begin(candidate, program.current)
    await program.steps_until(lambda: program.ready == [program.current, candidate])


def test_a_candidate_is_served_beside_the_current_version_while_its_trial_runs(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            await program.rollout.step()
            assert program.served == ["v1"]
            await on_trial(program)
            assert children() == ["v1", "v2"]
            assert await program.answered_by() == "v1"
            assert "v2 is on trial against v1" in program.said
            for _ in range(3):
                await program.rollout.step()
            assert children() == ["v1", "v2"]
            program.trials.end(program.trials.running(), "withdrawn", "by hand", None)
            await program.rollout.step()
            assert program.served == ["v1"]
            await program.until(lambda: children() == ["v1"])

    asyncio.run(run())


def test_a_candidate_waits_until_the_current_version_answers(home: Path):
    async def run() -> None:
        async with house(home) as program:
            program.trials.begin("v2", "v1")
            await program.fleet.brought_up()
            await program.rollout.step()
            assert program.served == ["v1"]
            await program.until(lambda: program.ready == ["v1"])
            await program.steps_until(lambda: program.ready == ["v1", "v2"])

    asyncio.run(run())


def test_votes_that_prove_it_better_promote_the_candidate(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            await on_trial(program)
            trial = program.trials.running()
            program.vote(trial, ["first"] * 49)
            await program.rollout.step()
            assert program.trials.running() == trial
            program.vote(trial, ["first"])
            await program.rollout.step()
            ended = program.trials.of("v2")
            assert (ended.outcome, ended.verdict["votes"]) == ("promoted", 50)
            assert ended.reason.startswith("50 votes give it 100% (95 % sure: ")
            assert program.current == "v2"
            assert program.registry.history()[-1]["reason"] == ended.reason
            assert program.ready == ["v2"]
            await program.until(lambda: children() == ["v2"])
            assert await program.answered_by() == "v2"
            assert program.registry.rollback().name == "v1"

    asyncio.run(run())


def test_votes_that_prove_it_worse_withdraw_the_candidate(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            await on_trial(program)
            program.vote(program.trials.running(), ["second"] * 12)
            await program.rollout.step()
            ended = program.trials.of("v2")
            assert (ended.outcome, ended.verdict["decision"]) == ("withdrawn", "withdraw")
            assert ended.reason.startswith("12 votes give it 0% ")
            assert program.current == "v1"
            await program.until(lambda: children() == ["v1"])
            history = program.registry.history()
            assert [entry["to"] for entry in history] == ["v0", "v1"]

    asyncio.run(run())


def test_votes_given_before_the_program_started_are_counted(home: Path):
    async def run() -> None:
        async with house(home) as program:
            trial = program.trials.begin("v2", "v1")
            program.vote(trial, ["first"] * 50)
            await program.fleet.brought_up()
            await program.steps_until(lambda: program.ready == ["v2"])
            assert program.current == "v2"

    asyncio.run(run())


def test_votes_of_an_earlier_trial_decide_nothing(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            earlier = program.trials.begin("v2", "v1")
            program.vote(earlier, ["first"] * 50)
            program.trials.end(earlier, "withdrawn", "by hand", None)
            await on_trial(program, "v3")
            assert program.trials.running().candidate == "v3"
            assert program.current == "v1"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (cannot_start, "ended with code 3: ValueError: the weights are odd"),
        (is_damaged, "is not the file that was registered"),
    ],
)
def test_a_candidate_that_cannot_be_served_is_withdrawn_with_the_reason(
    home: Path, harm: Callable[[House, str], None], why: str
):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            harm(program, "v2")
            program.trials.begin("v2", "v1")
            await program.steps_until(lambda: program.trials.running() is None)
            ended = program.trials.of("v2")
            assert ended.outcome == "withdrawn"
            assert ended.reason.startswith("it could not be served: ")
            assert why in ended.reason
            assert (program.current, program.ready) == ("v1", ["v1"])
            await program.until(lambda: children() == ["v1"])
            assert await program.answered_by() == "v1"

    asyncio.run(run())


def test_a_candidate_that_never_answers_is_withdrawn(home: Path, monkeypatch: pytest.MonkeyPatch):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            (program.registry.get("v2").path / "never-ready").touch()
            monkeypatch.setattr(engine, "START_SECONDS", 1)
            program.trials.begin("v2", "v1")
            await program.steps_until(lambda: program.trials.running() is None)
            assert program.trials.of("v2").reason == "it could not be served: no token after 1 s"
            assert program.ready == ["v1"]
            await program.until(lambda: children() == ["v1"])

    asyncio.run(run())


def test_a_candidate_that_is_gone_is_withdrawn(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            program.trials.begin("v9", "v1")
            await program.rollout.step()
            assert "There is no version 'v9'" in program.trials.of("v9").reason
            assert program.served == ["v1"]

    asyncio.run(run())


def test_promoting_the_candidate_by_hand_ends_its_trial(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            await on_trial(program)
            program.vote(program.trials.running(), ["first", "tie"])
            pid = program.fleet.engine("v2").pid
            program.registry.promote("v2")
            await program.rollout.step()
            ended = program.trials.of("v2")
            assert (ended.outcome, ended.reason) == ("promoted", "it was promoted by hand")
            assert (ended.verdict["votes"], ended.verdict["win_rate"]) == (2, 0.75)
            assert program.ready == ["v2"]
            await program.until(lambda: children() == ["v2"])
            assert program.fleet.engine().pid == pid  # it was running already

    asyncio.run(run())


def test_promoting_another_version_ends_the_trial_and_never_runs_three(home: Path):
    async def run() -> None:
        async with house(home) as program:
            await program.until(lambda: program.ready == ["v1"])
            await on_trial(program)
            program.registry.promote("v3")
            most = 0
            while program.ready != ["v3"] or children() != ["v3"]:
                most = max(most, len(children()))
                await program.rollout.step()
                await asyncio.sleep(0.02)
            ended = program.trials.of("v2")
            assert (ended.outcome, ended.reason) == ("withdrawn", "v3 was promoted meanwhile")
            assert most == 2

    asyncio.run(run())


def test_a_candidate_that_the_settings_ask_for_makes_room_for_one_on_trial(home: Path):
    async def run() -> None:
        async with house(home, candidate="v0") as program:
            await program.until(lambda: program.ready == ["v1", "v0"])
            await program.rollout.step()
            assert program.served == ["v1", "v0"]
            await on_trial(program)
            assert children() == ["v1", "v2"]

    asyncio.run(run())
