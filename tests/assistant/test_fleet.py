"""The fleet: which engine answers for which name, and what is said until one can."""

import asyncio
from pathlib import Path

import pytest

from assistant.errors import NotReady, NotServed
from assistant.fleet import Fleet
from assistant.registry import Registry
from assistant.settings import Settings
from tests.serving import served
from tests.upstream import Upstream


async def settled(fleet: Fleet, states: list[str]) -> None:
    for _ in range(300):
        if [s.status.state for s in fleet.served()] == states:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not {states}: {fleet.served()}, {fleet.status}")


def test_replicas_of_one_version_share_the_work(tmp_path: Path):
    async def run(urls: list[str]) -> None:
        fleet = Fleet(Settings(engine_url=tuple(urls)), Registry(tmp_path), report=str)
        await fleet.start()
        try:
            while [engine.status.state for engine in fleet.engines] != ["ready", "ready"]:
                await asyncio.sleep(0.02)
            first = fleet.engine("tiny")
            first.in_flight += 1
            second = fleet.engine("assistant")
            assert second is not first
            assert second.version.name == "tiny"
        finally:
            await fleet.stop()

    with served(Upstream().app) as one, served(Upstream().app) as two:
        asyncio.run(run([one, two + "/v1/"]))


def test_the_first_engine_is_the_assistant_and_both_have_names(tmp_path: Path):
    async def run(urls: list[str]) -> None:
        fleet = Fleet(Settings(engine_url=tuple(urls)), Registry(tmp_path), report=str)
        with pytest.raises(NotReady, match="not ready"):
            fleet.engine()
        await fleet.start()
        try:
            await settled(fleet, ["ready", "ready"])
            assert fleet.engine("assistant").version.name == "one"
            assert fleet.engine("two").version.name == "two"
            with pytest.raises(NotServed, match=r"served are: assistant \(= one\), one, two"):
                fleet.engine("three")
        finally:
            await fleet.stop()

    with served(Upstream("one").app) as one, served(Upstream("two").app) as two:
        asyncio.run(run([one, two]))


def test_a_failure_before_any_engine_is_said(tmp_path: Path):
    async def run() -> str:
        said: list[str] = []
        fleet = Fleet(Settings(home=tmp_path, model="nothing"), Registry(tmp_path), said.append)
        await fleet.start()
        while fleet.status.state == "loading":
            await asyncio.sleep(0.01)
        with pytest.raises(NotReady, match="neither a version"):
            fleet.engine()
        await fleet.stop()
        return said[-1]

    assert "neither a version" in asyncio.run(run())


def test_what_is_no_engine_is_told(tmp_path: Path):
    upstream = Upstream()
    upstream.app.router.routes.clear()

    async def run(url: str) -> str:
        fleet = Fleet(Settings(engine_url=(url,)), Registry(tmp_path), report=str)
        await fleet.start()
        while fleet.status.state == "loading":
            await asyncio.sleep(0.01)
        await fleet.stop()
        return fleet.status.detail

    with served(upstream.app) as url:
        assert "is not an OpenAI-compatible engine" in asyncio.run(run(url))
