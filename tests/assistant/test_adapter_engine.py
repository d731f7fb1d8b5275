"""On a GPU the versions of one family share an engine: by scripted engines, which need none."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from assistant import fleet
from assistant.adapter_engine import AdapterEngine
from assistant.disk import hashed
from assistant.machine import EnginePlan
from assistant.registry import Registry
from assistant.version import Adapter, Version
from tests.assistant.doors import ANNS_CALLS
from tests.assistant.rolling import House, children, house

PLAN = EnginePlan({}, ("--enable-lora",), "scripted", adapters=True)


@pytest.fixture
def family(registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home, with child and grandchild of v1 that have adapters, in a program with a GPU."""
    monkeypatch.setattr(fleet, "planned", lambda _: PLAN)
    for name, rank in (("child", 32), ("grandchild", 96)):
        grown(registry, name, rank)
    return home


def grown(registry: Registry, name: str, rank: int, of: str = "v1") -> Version:
    """A version with an adapter of another's family."""
    first = registry.get(of)
    with registry.staging() as made:
        for file in first.files:
            (made / file).write_bytes((first.path / file).read_bytes())
        (made / "model.safetensors").write_text(f"weights of {name}")
        folder = made / "made/family"
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(name)
        adapter = Adapter(of, first.content_hash, rank, "made/family", hashed(folder, "*.json"))
        return registry.register(name, made, kind="round", source="round", adapter=adapter)


def engine_of(here: House, name: str) -> AdapterEngine:
    return here.fleet.engine(name)


def flags_of(here: House, name: str) -> list[str]:
    pid = engine_of(here, name)._host.engine.pid
    return " ".join(psutil.Process(pid).cmdline()).split()


def test_a_promoted_version_of_the_family_is_an_adapter_of_the_same_engine(family: Path):
    async def run() -> None:
        async with house(family) as here:
            await here.until(lambda: here.ready == ["v1"])
            before = engine_of(here, "v1")._host.engine.pid
            here.registry.promote("child")
            await here.steps_until(lambda: here.ready == ["child"])
            assert await here.answered_by() == "child"
            assert engine_of(here, "child")._host.engine.pid == before
            assert children() == ["v1"]
            assert "--enable-lora --max-lora-rank 64" in " ".join(flags_of(here, "child"))
            here.registry.rollback()
            await here.steps_until(lambda: here.ready == ["v1"])
            assert await here.answered_by() == "v1"
            assert engine_of(here, "v1")._host.engine.pid == before

    asyncio.run(run())


def test_a_candidate_is_tried_beside_the_current_version_on_one_engine(family: Path):
    async def run() -> None:
        async with house(family) as here:
            await here.until(lambda: here.ready == ["v1"])
            here.trials.begin("child", "v1")
            await here.steps_until(lambda: here.ready == ["v1", "child"])
            assert children() == ["v1"]
            one, other = engine_of(here, "v1"), engine_of(here, "child")
            assert [bool(await e.metrics()) for e in (one, other)] == [True, False]

    asyncio.run(run())


def test_an_adapter_is_named_by_its_content_and_answers_by_the_versions_name(family: Path):
    async def run() -> None:
        async with house(family, model="child") as here:
            await here.until(lambda: here.ready == ["child"])
            child = engine_of(here, "child")
            assert child.served_as == f"child-{child.version.content_hash[:12]}"
            folder = child.version.path / child.version.adapter.folder
            again = {"lora_name": child.served_as, "lora_path": str(folder)}
            assert "loaded already" in await child._tell("load", again)
            assert await here.answered_by() == "child"

    asyncio.run(run())


def test_an_adapter_too_large_for_the_engine_gets_another_one(family: Path):
    async def run() -> None:
        async with house(family) as here:
            await here.until(lambda: here.ready == ["v1"])
            here.registry.promote("grandchild")
            await here.steps_until(lambda: here.ready == ["grandchild"])
            assert "--max-lora-rank 128" in " ".join(flags_of(here, "grandchild"))
            await here.until(lambda: children() == ["v1"])  # the first, with less room, has ended

    asyncio.run(run())


def test_an_engine_is_busy_while_one_of_its_versions_answers(family: Path):
    async def run() -> None:
        async with house(family, model="child") as here:
            await here.until(lambda: here.ready == ["child"])
            child = engine_of(here, "child")
            body = {"messages": [{"role": "user", "content": "hi"}]}
            async with child.post("/v1/chat/completions", body, ANNS_CALLS):
                assert (child.in_flight, child._host.engine.in_flight) == (1, 1)
            assert (child.in_flight, child._host.engine.in_flight) == (0, 0)

    asyncio.run(run())


def test_an_engine_that_died_is_given_the_adapter_again(family: Path, registry: Registry):
    async def run() -> None:
        async with house(family, model="child") as here:
            await here.until(lambda: here.ready == ["child"])
            before = engine_of(here, "child")._host.engine.pid
            (registry.get("v1").path / "die-now").touch()
            await here.until(lambda: here.ready == [])
            await here.until(lambda: here.ready == ["child"])
            assert engine_of(here, "child")._host.engine.pid != before
            assert await here.answered_by() == "child"

    asyncio.run(run())


def test_weights_and_adapters_damaged_meanwhile_are_not_loaded_again(
    family: Path, registry: Registry
):
    weights = registry.get("v1").path
    adapter = registry.get("child").path / "made/family/adapter_config.json"

    async def run() -> None:
        async with house(family, model="child") as here:
            await here.until(lambda: here.ready == ["child"])
            (weights / "model.safetensors").write_text("WEIGHTS")
            adapter.write_text("other")
            (weights / "die-now").touch()
            status = lambda: here.fleet.status  # noqa: E731
            await here.until(lambda: "model.safetensors of version 'v1'" in status().detail)
            (weights / "model.safetensors").write_text("weights")
            await here.until(lambda: "adapter_config.json of version 'child'" in status().detail)
            assert status().state == "failed"
            adapter.write_text("child")
            await here.until(lambda: here.ready == ["child"])

    asyncio.run(run())


def test_a_version_whose_family_is_gone_is_served_from_its_own_weights(
    family: Path, registry: Registry
):
    grown(registry, "orphan", 32, of="v2")
    (registry.get("v2").path / "model.safetensors").write_text("others!")

    async def run() -> None:
        async with house(family, model="orphan") as here:
            await here.until(lambda: here.ready == ["orphan"])
            assert children() == ["orphan"]
            assert await here.answered_by() == "orphan"
            assert any("served from its own weights" in line for line in here.said)

    asyncio.run(run())


def test_an_adapter_the_engine_refuses_leaves_the_old_version_serving(
    family: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Registry, "verify_adapter", lambda *_: None)
    (registry.get("child").path / "made/family/adapter_config.json").unlink()

    async def run() -> None:
        async with house(family) as here:
            await here.until(lambda: here.ready == ["v1"])
            here.registry.promote("child")
            with pytest.raises(Exception, match="No adapter found"):
                await here.steps_until(lambda: here.current == "v1")
            assert here.current == "v1"
            assert await here.answered_by() == "v1"

    asyncio.run(run())


def test_a_changed_adapter_is_not_loaded(family: Path, registry: Registry):
    (registry.get("child").path / "made/family/adapter_config.json").write_text("other")

    async def run() -> None:
        async with house(family, model="child") as here:
            await here.until(lambda: here.ready == ["child"])
            assert children() == ["child"]  # from its own weights
            assert any("is not the file that was registered" in line for line in here.said)

    asyncio.run(run())
