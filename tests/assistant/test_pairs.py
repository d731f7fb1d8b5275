"""Pairs: which two versions answer, on which side, at one pace, and what is noted of it."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from assistant.chat import Chat, Draft
from assistant.errors import AssistantError, EngineError, NotReady
from assistant.feedback.records import Message
from assistant.feedback.store import FeedbackStore
from assistant.fleet import Fleet
from assistant.pairs import PAIR_SAMPLING, Pairs, Sides
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.trials import Trials
from tests.assistant.doors import ANNS_CALLS, opened
from tests.assistant.feedback.said import ANN, raw
from tests.assistant.test_fleet import settled
from tests.serving import served
from tests.upstream import Upstream

VERSIONS = Sides("versions", "one", "two")


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assistant.remote_engine.WATCH_SECONDS", 0.1)


def over_two(tmp_path: Path, work: Any) -> None:
    """Run `work(pairs, one, two)` over two scripted engines, a real store and real trials."""
    one, two = Upstream("one"), Upstream("two")

    async def run(*urls: str) -> None:
        settings = Settings(home=tmp_path, engine_url=urls)
        fleet = Fleet(settings, Registry(tmp_path), report=str)
        await fleet.start()
        try:
            with FeedbackStore(settings.database) as store:
                await settled(fleet, ["ready", "ready"])
                async with asyncio.timeout(30):
                    await work(
                        Pairs(Chat(store, fleet, opened(store.url)), Trials(tmp_path)), one, two
                    )
        finally:
            await fleet.stop()

    with served(one.app) as first, served(two.app) as second:
        asyncio.run(run(first, second))


def drawn_often(pairs: Pairs, *wanted: Any) -> set[Sides]:
    return {pairs.draw_sides(*wanted) for _ in range(64)}


async def freed(*engines: Upstream) -> None:
    """Wait until engines have nothing to do; fails if they go on."""
    async with asyncio.timeout(2):
        while any(engine.running for engine in engines):
            await asyncio.sleep(0.02)


async def question(pairs: Pairs, text: str = "hi") -> Message:
    conversation = pairs.chat.store.conversations.start(ANN, "compare").id
    return await pairs.chat.ask(conversation, None, text, "")


async def streamed(pairs: Pairs, asked: Message, sides: Sides) -> list[tuple[Draft, Draft]]:
    async with aclosing(pairs.stream(asked, PAIR_SAMPLING, sides, ANNS_CALLS)) as drafts:
        return [both async for both in drafts]


def test_without_a_trial_two_samples_of_the_current_version_are_drawn(tmp_path: Path):
    async def work(pairs: Pairs, *_: Upstream) -> None:
        assert drawn_often(pairs) == {Sides("samples", "one", "one")}

    over_two(tmp_path, work)


def test_in_a_trial_both_versions_are_drawn_on_either_side(tmp_path: Path):
    async def work(pairs: Pairs, *_: Upstream) -> None:
        trial = pairs.trials.begin("two", "one")
        either = {
            Sides("versions", "one", "two", trial.id),
            Sides("versions", "two", "one", trial.id),
        }
        assert drawn_often(pairs) == drawn_often(pairs, "versions") == either
        assert drawn_often(pairs, "samples") == {Sides("samples", "one", "one")}
        pairs.trials.end(trial, "withdrawn", "by hand", None)
        assert drawn_often(pairs) == {Sides("samples", "one", "one")}

    over_two(tmp_path, work)


def test_two_versions_asked_for_without_a_trial_are_of_no_trial(tmp_path: Path):
    async def work(pairs: Pairs, *_: Upstream) -> None:
        either = {Sides("versions", "one", "two"), Sides("versions", "two", "one")}
        assert drawn_often(pairs, "versions") == either
        for candidate, against in (("three", "one"), ("two", "zero")):  # not all are served
            trial = pairs.trials.begin(candidate, against)
            assert drawn_often(pairs, "versions") == either
            assert drawn_often(pairs) == {Sides("samples", "one", "one")}
            pairs.trials.end(trial, "withdrawn", "by hand", None)

    over_two(tmp_path, work)


def test_until_the_candidate_can_answer_samples_are_drawn(tmp_path: Path):
    async def work(pairs: Pairs, _one: Upstream, two: Upstream) -> None:
        pairs.trials.begin("two", "one")
        two.healthy = False
        await settled(pairs.chat.fleet, ["ready", "failed"])
        for wanted in (None, "samples", "versions"):
            assert drawn_often(pairs, wanted) == {Sides("samples", "one", "one")}
        two.healthy = True
        await settled(pairs.chat.fleet, ["ready", "ready"])
        assert {sides.kind for sides in drawn_often(pairs)} == {"versions"}

    over_two(tmp_path, work)


def test_before_anything_is_served_the_assistant_is_asked_for(tmp_path: Path):
    with FeedbackStore(f"sqlite:///{tmp_path}/store.db") as store:
        fleet = Fleet(Settings(home=tmp_path), Registry(tmp_path), report=str)
        pairs = Pairs(Chat(store, fleet, opened(store.url)), Trials(tmp_path))
        assert pairs.draw_sides() == Sides("samples", "assistant", "assistant")


def test_neither_answer_shows_more_steps_than_the_other_has_made(tmp_path: Path):
    async def work(pairs: Pairs, _one: Upstream, two: Upstream) -> None:
        two.script, two.pause = "slow", 0.1
        drafts = await streamed(pairs, await question(pairs), VERSIONS)
        words = [tuple(len(draft.text.split()) for draft in both) for both in drafts]
        assert words == [(1, 1), (2, 2), (3, 3), (3, 3)]
        assert all(draft.message for draft in drafts[-1])

    over_two(tmp_path, work)


def test_the_longer_answer_goes_on_alone(tmp_path: Path):
    async def work(pairs: Pairs, one: Upstream, two: Upstream) -> None:
        one.words, two.words = ["short"], ["a ", "long ", "way ", "to ", "go"]
        drafts = await streamed(pairs, await question(pairs), VERSIONS)
        assert [both[1].text.count(" ") for both in drafts] == [1, 2, 3, 4, 4, 4]
        assert {both[0].text for both in drafts} == {"short"}
        finished = [both[0].message for both in drafts if both[0].message]
        assert len(finished) == 5
        assert len({message.id for message in finished}) == 1

    over_two(tmp_path, work)


def test_both_answers_are_stored_as_siblings_by_the_versions_that_made_them(tmp_path: Path):
    async def work(pairs: Pairs, *_: Upstream) -> None:
        asked = await question(pairs)
        first, second = (await streamed(pairs, asked, Sides("versions", "two", "one")))[-1]
        made = [draft.message for draft in (first, second)]
        assert [m.generation.version for m in made] == ["two", "one"]
        assert [m.parent_id for m in made] == [asked.id, asked.id]
        assert [m.generation.sampling["temperature"] for m in made] == [0.9, 0.9]

    over_two(tmp_path, work)


@pytest.mark.parametrize(
    ("script", "second", "error"),
    [("break", "two", EngineError), ("complain", "two", EngineError), (None, "gone", NotReady)],
)
def test_one_that_breaks_off_ends_both_with_its_own_error(
    tmp_path: Path, script: str | None, second: str, error: type[AssistantError]
):
    async def work(pairs: Pairs, one: Upstream, two: Upstream) -> None:
        one.script, two.script = "stall", script
        with pytest.raises(error):
            await streamed(pairs, await question(pairs), Sides("versions", "one", second))
        await freed(one)

    over_two(tmp_path, work)


def test_who_stops_keeps_what_came_and_frees_both_engines(tmp_path: Path):
    async def work(pairs: Pairs, one: Upstream, two: Upstream) -> None:
        asked = await question(pairs, "stall")
        async with aclosing(pairs.stream(asked, PAIR_SAMPLING, VERSIONS, ANNS_CALLS)) as drafts:
            assert [draft.text for draft in await anext(drafts)] == ["one ", "one "]
        stored = pairs.chat.store.conversations.tree(asked.conversation_id)[1:]
        assert [m.content for m in stored] == ["one ", "one "]
        await freed(one, two)

    over_two(tmp_path, work)


def test_who_leaves_while_both_are_awaited_frees_both_engines(tmp_path: Path):
    async def work(pairs: Pairs, one: Upstream, two: Upstream) -> None:
        asking = asyncio.create_task(streamed(pairs, await question(pairs, "stall"), VERSIONS))
        while not (one.running and two.running):
            await asyncio.sleep(0.02)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await freed(one, two)

    over_two(tmp_path, work)


def test_a_pair_is_noted_with_its_trial_and_its_vote_counts_there(tmp_path: Path):
    async def work(pairs: Pairs, *_: Upstream) -> None:
        trial = pairs.trials.begin("two", "one")
        sides = pairs.draw_sides()
        first, second = (await streamed(pairs, await question(pairs), sides))[-1]
        comparison, noted = await pairs.note(first.message, second.message, sides)
        assert noted == (first.message, second.message)
        (row,) = raw(pairs.chat.store)["comparison"]
        assert (row["drawn"], bool(row["blind"]), row["trial"]) == ("versions", True, trial.id)
        assert pairs.standing(trial).votes == 0
        pairs.chat.store.judgements.compared(ANN, "compare", comparison, "first")
        standing = pairs.standing(trial)
        assert (standing.votes, standing.win_rate) == (1, float(sides.first == "two"))

    over_two(tmp_path, work)


def test_an_answer_without_a_word_is_not_compared(tmp_path: Path):
    async def work(pairs: Pairs, _: Upstream, two: Upstream) -> None:
        two.words = []
        pairs.trials.begin("two", "one")
        first, second = (await streamed(pairs, await question(pairs), VERSIONS))[-1]
        assert first.message
        assert second.message
        with pytest.raises(EngineError, match="came back empty"):
            await pairs.note(first.message, second.message, VERSIONS)
        assert raw(pairs.chat.store)["comparison"] == []

    over_two(tmp_path, work)
