"""Two real vLLM servers behind one program: shared work, and one that is killed is not missed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import torch

from assistant.machine import Machine, plan_engine
from assistant.version import Version
from tests.align.conftest import TOKENIZER, tiny_model
from tests.e2e.product import Product, free_port, running

pytestmark = pytest.mark.long

START_SECONDS = 180
SERVER = "vllm.entrypoints.openai.api_server"


@dataclass
class Server:
    """vLLM's own server, on TCP."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def answered(self) -> int:
        """How many requests it finished."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        finished = [line for line in lines if line.startswith("vllm:request_success_total")]
        return sum(int(float(line.split()[-1])) for line in finished)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture(scope="module")
def folder(embedded_version: Version, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that says yes, no or well."""
    made = tmp_path_factory.mktemp("scale") / "tiny"
    tiny_model().to(torch.bfloat16).save_pretrained(made)
    for name in TOKENIZER:
        shutil.copyfile(embedded_version.path / name, made / name)
    return made


@contextlib.contextmanager
def vllm(model: Path, log: Path) -> Iterator[Server]:
    """A server that is being started."""
    port = free_port()
    plan = plan_engine(Machine.this(), "off", log.parent / "cache")
    flags = ["--model", str(model), "--served-model-name", "tiny", "--max-model-len", "2048"]
    flags += ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", SERVER, *flags, *plan.flags],
            env=os.environ | plan.environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        logs = [folder.parent / f"vllm-{number}.log" for number in range(2)]
        yield [stack.enter_context(vllm(folder, log)) for log in logs]


@pytest.fixture(scope="module")
def product(folder: Path, servers: list[Server]) -> Iterator[Product]:
    urls = " ".join(server.url for server in servers)
    with running(folder.parent, ASSISTANT_ENGINE_URL=urls) as started:
        until(lambda: ready(started) == 2)
        yield started


def ready(product: Product) -> int:
    """How many engines are."""
    with contextlib.suppress(httpx.TransportError):
        for line in httpx.get(f"{product.url}/metrics").text.splitlines():
            if line.startswith("assistant_engines{") and 'state="ready"' in line:
                return int(float(line.split()[-1]))
    return 0


def until(there: object) -> None:
    ends = time.monotonic() + START_SECONDS
    while not there():  # type: ignore[operator]
        assert time.monotonic() < ends, "the engines do not come up"
        time.sleep(0.5)


def ask(product: Product, number: int) -> str:
    made = product.client.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": f"Question {number}?"}],
        max_tokens=8,
    )
    return made.model


def test_work_is_shared_and_a_killed_engine_is_not_missed(product: Product, servers: list[Server]):
    before = [server.answered for server in servers]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda n: ask(product, n), range(24))) == {"tiny"}
    shares = [s.answered - b for s, b in zip(servers, before, strict=True)]
    assert min(shares) >= 4, shares
    servers[1].kill()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda n: ask(product, n), range(24))) == {"tiny"}
    until(lambda: ready(product) == 1)
    servers[0].kill()
    with pytest.raises(openai.InternalServerError) as refused:
        ask(product, 0)
    assert refused.value.status_code == 503
