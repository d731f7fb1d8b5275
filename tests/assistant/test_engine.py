"""Engines: a child that is watched, restarted and taken along; a server that is only watched."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from assistant import engine as engines
from assistant import engine_process
from assistant.errors import EngineError, ModelError, NotReady
from assistant.local_engine import LocalEngine
from assistant.machine import EnginePlan
from assistant.registry import Registry
from assistant.remote_engine import RemoteEngine
from tests.assistant.doors import ANNS_CALLS
from tests.serving import served
from tests.upstream import Upstream

PLAN = EnginePlan({"PLAN": "followed"}, (), "scripted")


@pytest.fixture
def version(registry: Registry, model_folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_process, "CHILD", "tests.engine_child")
    return registry.register("v1", model_folder(), kind="dpo", source="round")


@asynccontextmanager
async def started(version, logs: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(version, PLAN, logs)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def until(engine, state: str, seconds: float = 15) -> None:
    ends = time.monotonic() + seconds
    while engine.status.state != state:
        assert time.monotonic() < ends, f"still {engine.status}"
        await asyncio.sleep(0.02)


def environment(version) -> dict[str, str]:
    """What its scripted child was started with."""
    return json.loads((version.path / "environment").read_text())


def test_a_child_answers_on_a_private_socket_and_ends_with_its_engine(version, tmp_path: Path):
    async def run() -> tuple[psutil.Process, Path]:
        async with started(version, tmp_path / "logs") as engine:
            with pytest.raises(NotReady, match="'v1' is not ready"):
                engine.require_ready()
            await until(engine, "ready")
            child = psutil.Process(engine.pid)
            flags = " ".join(child.cmdline()).split()
            socket = Path(flags[flags.index("--uds") + 1])
            assert socket.parent.stat().st_mode & 0o777 == 0o700
            assert environment(version)["PLAN"] == "followed"
            async with engine.post("/v1/completions", {"prompt": "one"}, None) as response:
                assert (await response.json())["model"] == "v1"
        assert engine.status.state == "stopped"
        return child, socket

    child, socket = asyncio.run(run())
    assert not child.is_running()
    assert not socket.parent.exists()


def test_a_child_that_dies_is_started_again_with_backoff(version, tmp_path: Path):
    async def run() -> str:
        async with started(version, tmp_path) as engine:
            await until(engine, "ready")
            before = engine.pid
            (version.path / "die-now").touch()
            await until(engine, "failed")
            detail = engine.status.detail
            with pytest.raises(NotReady):
                engine.require_ready()
            await until(engine, "ready")
            assert engine.pid != before
            return detail

    assert "ended with code 4" in asyncio.run(run())


def test_a_child_that_was_killed_is_explained(version, tmp_path: Path):
    async def run() -> str:
        async with started(version, tmp_path) as engine:
            await until(engine, "ready")
            psutil.Process(engine.pid).kill()
            await until(engine, "failed")
            return engine.status.detail

    told = asyncio.run(run())
    assert "killed from outside, as Linux does where memory runs out" in told
    assert str(tmp_path) not in told


def test_a_child_that_cannot_start_says_why_and_waits_longer_each_time(version, tmp_path: Path):
    (version.path / "die-at-start").touch()

    async def run() -> list[str]:
        async with started(version, tmp_path) as engine:
            details = []
            for _ in range(2):
                await until(engine, "failed")
                details.append(engine.status.detail)
                await until(engine, "loading")
            (version.path / "die-at-start").unlink()
            await until(engine, "ready")
            return details

    details = asyncio.run(run())
    for detail, backoff in zip(details, (1, 2), strict=True):
        assert "ended with code 3: ValueError: the weights are odd" in detail
        assert detail.endswith(f"it starts again in {backoff} s")
    assert "all is well" in (tmp_path / "v1.log").read_text()


def test_weights_are_checked_before_every_start_that_nobody_checked_them_for(
    version, tmp_path: Path
):
    checks = []

    def check() -> None:
        checks.append(time.monotonic())
        if len(checks) == 1:
            raise ModelError("The weights are damaged; restore them.")

    async def run() -> str:
        engine = LocalEngine(version, PLAN, tmp_path, check=check, checked=True)
        await engine.start()
        try:
            await until(engine, "ready")
            assert checks == []
            (version.path / "die-now").touch()
            await until(engine, "failed")
            async with asyncio.timeout(15):
                while not checks:
                    await asyncio.sleep(0.02)
            await until(engine, "failed")
            detail = engine.status.detail
            await until(engine, "ready")
            return detail
        finally:
            await engine.stop()

    detail = asyncio.run(run())
    assert detail.startswith("The weights are damaged; restore them; it starts again in")
    assert len(checks) == 2


def test_a_log_does_not_grow_for_ever(version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_process, "LOG_BYTES", 10)
    (tmp_path / "v1.log").write_text("what an earlier engine said")

    async def run() -> None:
        async with started(version, tmp_path) as engine:
            await until(engine, "ready")

    asyncio.run(run())
    assert (tmp_path / "v1.log.1").read_text() == "what an earlier engine said"
    assert "scripted" in (tmp_path / "v1.log").read_text()


def test_settings_of_ours_are_not_passed_to_the_child(version, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ASSISTANT_DATABASE_URL", "postgresql://user:secret@host/name")

    async def run() -> None:
        async with started(version, tmp_path) as engine:
            await until(engine, "ready")

    asyncio.run(run())
    assert not [name for name in environment(version) if name.startswith("ASSISTANT_")]


def test_a_remote_engines_refusal_carries_its_status(version):
    async def run(url: str) -> EngineError:
        engine = RemoteEngine(version, url)
        await engine.start()
        try:
            await until(engine, "ready")
            body = {"messages": [{"role": "user", "content": "refuse"}]}
            with pytest.raises(EngineError) as caught:
                async with engine.post("/v1/chat/completions", body, ANNS_CALLS, "id"):
                    pass
            return caught.value
        finally:
            await engine.stop()

    with served(Upstream("v1").app) as url:
        refused = asyncio.run(run(url))
    assert refused.status == 400
    assert "maximum context length" in str(refused)


@pytest.mark.parametrize(("streamed", "breaks"), [(False, False), (True, True)])
def test_only_a_stream_may_not_be_silent_for_long(
    version, monkeypatch: pytest.MonkeyPatch, streamed: bool, breaks: bool
):
    async def run(url: str) -> bytes:
        engine = RemoteEngine(version, url)
        await engine.start()
        try:
            await until(engine, "ready")
            monkeypatch.setattr(engines, "SILENCE_SECONDS", 0.3)
            body = {"messages": [{"role": "user", "content": "slow"}], "stream": streamed}
            async with engine.post("/v1/chat/completions", body, ANNS_CALLS) as response:
                return await response.read()
        finally:
            await engine.stop()

    with served(Upstream("v1").app) as url:
        if breaks:
            with pytest.raises(EngineError, match="broke off"):
                asyncio.run(run(url))
        else:
            assert b"one two three" in asyncio.run(run(url))


MODELS = b'{"data": [{"id": "v1"}]}'


class Dropping:
    """A server that hangs up, without an answer, when it is asked a question on a used connection.

    So does any that closes an idle connection at the moment when it is used again.
    """

    def __init__(self, *, always: bool = False) -> None:
        self.always = always
        self.dropped = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        used = False
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length.group(1)) if length else 0)
                if b"chat" in head and (used or self.always):
                    self.dropped += 1
                    break
                used = True
                body = MODELS if b"models" in head else b"{}"
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()


@pytest.mark.parametrize(("always", "dropped"), [(False, 1), (True, 2)])
def test_a_question_is_asked_again_once_where_a_kept_connection_is_dropped(
    version, always: bool, dropped: int
):
    async def run() -> tuple[int, bytes]:
        dropping = Dropping(always=always)
        server = await asyncio.start_server(dropping, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        engine = RemoteEngine("v1", f"http://127.0.0.1:{port}")
        await engine.start()
        try:
            await until(engine, "ready")
            async with engine.post("/v1/chat/completions", {}, ANNS_CALLS) as response:
                return dropping.dropped, await response.read()
        except EngineError as error:
            return dropping.dropped, str(error).encode()
        finally:
            await engine.stop()
            server.close()

    times, answered = asyncio.run(run())
    assert times == dropped
    assert answered.startswith(b"The engine broke off" if always else b"{}")
