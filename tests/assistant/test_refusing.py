"""A program that cannot do what it was asked to says why, in a sentence."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from assistant.version import Version
from tests.e2e.product import ROOT, Product, free_port, running
from tests.serving import eventually

PATIENCE = 180  # seconds: other tests want the cores, too
QUESTION = [{"role": "user", "content": "Name three colors."}]


def run_app(**environment: str) -> subprocess.CompletedProcess[str]:
    """Start the program where it is expected to refuse."""
    known = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, str(ROOT / "app.py")],
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def one_sentence(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


@pytest.fixture(scope="module")
def modelless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A program that runs, and has nothing to serve."""
    folder = tmp_path_factory.mktemp("modelless")
    with running(folder, ASSISTANT_MODEL="no-such-thing") as started:
        started.wait_for_page(PATIENCE)
        yield started


def test_a_second_instance_on_the_same_home_is_refused(modelless: Product):
    port = "0" + str(free_port())
    run = run_app(ASSISTANT_HOME=str(modelless.home), ASSISTANT_PORT=port)
    assert modelless.url in one_sentence(run)


def test_a_taken_port_is_named(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = one_sentence(run_app(ASSISTANT_HOME=str(tmp_path), ASSISTANT_PORT=port))
    assert port in said
    assert "ASSISTANT_PORT" in said


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert "ASSISTANT_HOME" in one_sentence(run_app(ASSISTANT_HOME=str(blocked / "home")))


def test_an_open_door_is_refused(tmp_path: Path):
    run = run_app(ASSISTANT_HOME=str(tmp_path), ASSISTANT_HOST="0.0.0.0")
    assert "without an API key" in one_sentence(run)


def test_a_wrong_model_is_said_by_page_and_api(modelless: Product):
    said = "'no-such-thing' is neither a version"
    assert eventually(lambda: said in httpx.get(f"{modelless.url}/readyz").json()["detail"])
    with pytest.raises(openai.InternalServerError, match="neither a version"):
        modelless.client.chat.completions.create(model="assistant", messages=QUESTION)
    assert httpx.get(f"{modelless.url}/en/").status_code == 200
    assert modelless.stop() == 0


def test_truncated_weights_are_said_and_not_served(tmp_path: Path, embedded_version: Version):
    name = embedded_version.name
    broken = tmp_path / "home" / "versions" / name
    broken.mkdir(parents=True)
    for file in embedded_version.path.iterdir():
        (broken / file.name).symlink_to(file)
    (broken / "model.safetensors").unlink()
    (broken / "model.safetensors").write_bytes(b"\x00" * 1000)
    (tmp_path / "home" / "versions" / "current").write_text(name)
    with running(tmp_path) as harmed:
        harmed.wait_for_page(PATIENCE)

        def detail() -> str:
            return str(httpx.get(f"{harmed.url}/readyz").json()["detail"])

        assert eventually(lambda: "has 1000 bytes instead of" in detail())
        assert "model.safetensors" in detail()
