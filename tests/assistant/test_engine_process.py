"""The process of an engine: started before it is known what it will serve."""

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from assistant import engine_process
from assistant.engine_process import EngineProcess, spare_process
from assistant.errors import EngineError
from assistant.fleet import Fleet
from assistant.local_engine import LocalEngine
from assistant.settings import Settings
from tests.assistant.test_engine import PLAN, until, version
from tests.e2e.product import ROOT
from tests.serving import eventually

assert version


def test_a_waiting_process_becomes_the_first_engine_only(version, tmp_path: Path):
    async def run() -> tuple[int | None, int | None]:
        spare = EngineProcess(PLAN, tmp_path / "starting.log")
        engine = LocalEngine(version, PLAN, tmp_path, spare=spare)
        await engine.start()
        try:
            await until(engine, "ready")
            first = engine.pid
            (version.path / "die-now").touch()
            await until(engine, "failed")
            await until(engine, "ready")
            return first == spare.pid, engine.pid == spare.pid
        finally:
            await engine.stop()

    assert asyncio.run(run()) == (True, False)
    assert "engine of v1" in (tmp_path / "v1.log").read_text()


def test_a_waiting_process_that_ended_is_not_missed(version, tmp_path: Path):
    async def run() -> None:
        spare = EngineProcess(PLAN, tmp_path / "starting.log")
        spare.kill()
        await spare.ended()
        engine = LocalEngine(version, PLAN, tmp_path, spare=spare)
        await engine.start()
        try:
            await until(engine, "ready")
            assert engine.pid != spare.pid
        finally:
            await engine.stop()

    asyncio.run(run())


def test_what_cannot_be_logged_leaves_no_process_behind(version, tmp_path: Path):
    before = psutil.Process().children()

    async def run() -> str:
        spare = EngineProcess(PLAN, tmp_path / "starting.log")
        (tmp_path / "full").touch()
        engine = LocalEngine(version, PLAN, tmp_path / "full", spare=spare)
        await engine.start()
        try:
            await until(engine, "failed")
            return engine.status.detail
        finally:
            await engine.stop()

    assert "cannot be started" in asyncio.run(run())
    assert psutil.Process().children() == before


def test_a_process_that_is_told_nothing_ends_with_the_one_that_started_it(tmp_path: Path):
    script = (
        "import assistant.engine_process as e, sys, pathlib\n"
        "from assistant.machine import EnginePlan\n"
        "e.CHILD = 'tests.engine_child'\n"
        "p = e.EngineProcess(EnginePlan({}, (), ''), pathlib.Path(sys.argv[1]))\n"
        "print(p.pid)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    pid = int(run.stdout)
    if psutil.pid_exists(pid):
        psutil.Process(pid).wait(10)
    assert not psutil.pid_exists(pid)


DEAF = """
import os, signal, sys, time
from assistant.engine_child import end_with, so_do_its_children

signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as vLLM while it compiles
top = os.getpid()
if not os.fork():
    end_with(top)
    so_do_its_children()
    if not os.fork():
        os.fork()
os.write(1, f"{os.getpid()}\\n".encode())
time.sleep(300)
"""


def test_a_killed_program_leaves_no_engine_that_does_not_hear():
    top = subprocess.Popen([sys.executable, "-c", DEAF], cwd=ROOT, stdout=subprocess.PIPE)
    assert top.stdout is not None
    family = [psutil.Process(int(top.stdout.readline())) for _ in range(4)]
    assert all(one.is_running() for one in family)
    top.kill()
    top.wait()
    assert eventually(lambda: not any(psutil.pid_exists(one.pid) for one in family))


def test_nothing_waits_where_engines_are_elsewhere_or_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert spare_process(Settings(home=tmp_path, engine_url=("http://there",))) is None

    def cannot(settings: Settings) -> None:
        raise EngineError("no libnuma")

    monkeypatch.setattr(engine_process, "planned", cannot)
    assert spare_process(Settings(home=tmp_path)) is None


def test_the_fleet_hands_it_to_its_first_engine(version, registry, tmp_path: Path):
    async def run() -> bool:
        settings = Settings(home=tmp_path, model=version.name, compile="off")
        spare = EngineProcess(PLAN, tmp_path / "starting.log")
        fleet = Fleet(settings, registry, str, spare)
        await fleet.start()
        try:
            await fleet.brought_up()
            await until(fleet.engine(), "ready")
            return fleet.engine().pid == spare.pid
        finally:
            await fleet.stop()

    assert asyncio.run(run())
