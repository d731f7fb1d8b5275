"""The product as a user starts it: `python app.py`, a real engine, a home of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openai
import psutil

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 240


@dataclass
class Product:
    """One running program; `log` is what it printed."""

    home: Path
    port: int
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT
    """Where its code and its texts are."""
    process: subprocess.Popen[bytes] | None = None
    begins: int = 0
    """Where this start's part of the log begins."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.begins = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, str(self.root / "app.py")],
                cwd=self.root,
                env=os.environ
                | {
                    "ASSISTANT_HOME": str(self.home),
                    "ASSISTANT_PORT": str(self.port),
                    "ASSISTANT_COMPILE": "off",
                    "ASSISTANT_CONTEXT": "2048",
                }
                | self.environment,
                stdout=log,
                stderr=log,
            )

    def wait_for_page(self, seconds: float = 30) -> float:
        return self._wait(lambda: httpx.get(f"{self.url}/healthz").status_code == 200, seconds)

    def wait_until_ready(self, model: str = "", seconds: float = START_SECONDS) -> float:
        """Wait for the main version, or for the named one."""
        if model:
            asked = {"model": model, "prompt": "Hi", "max_tokens": 1}
            url = f"{self.url}/v1/completions"
            return self._wait(lambda: httpx.post(url, json=asked).status_code == 200, seconds)
        return self._wait(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, seconds)

    def wait_until_compiled(self, seconds: float = START_SECONDS) -> float:
        """Wait until the compiled engine has taken the place of the one that was ready sooner."""

        def there() -> bool:
            said = self.log.read_bytes()[self.begins :]
            return b"is compiled" in said and len(self.engines()) == 1

        return self._wait(there, seconds)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30)

    def engine(self) -> psutil.Process:
        """The engine's process."""
        if engines := self.engines():
            return engines[0]
        raise LookupError("no engine runs")

    def engines(self) -> list[psutil.Process]:
        """The processes of engines, found by their home on the command line."""
        lines = {p: " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])}
        wanted = ("assistant.engine_child", str(self.home))
        return [p for p, line in lines.items() if all(word in line for word in wanted)]

    def engine_socket(self) -> str:
        """Where the engine listens, past the gateway."""
        line = " ".join(self.engine().cmdline()).split()
        return line[line.index("--uds") + 1]

    def engine_client(self) -> httpx.Client:
        """Straight to the engine's socket."""
        transport = httpx.HTTPTransport(uds=self.engine_socket())
        return httpx.Client(transport=transport, base_url="http://engine")

    def _wait(self, there: object, seconds: float) -> float:
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the program ended:\n{self.log.read_text()[-3000:]}")
            with contextlib.suppress(httpx.TransportError):
                if there():  # type: ignore[operator]
                    return time.monotonic() - started
            time.sleep(0.2)
        raise AssertionError(f"not there after {seconds} s:\n{self.log.read_text()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path, root: Path = ROOT, **environment: str) -> Iterator[Product]:
    """A product started in `folder`, stopped in the end whatever happens."""
    product = Product(folder / "home", free_port(), folder / "app.log", environment, root)
    product.start()
    try:
        yield product
    finally:
        if product.process and product.process.poll() is None:
            product.stop()
