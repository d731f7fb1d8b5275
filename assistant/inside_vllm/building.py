"""Compiling our kernels on the machine that runs them: once, for all homes of a user.

It takes some seconds of `g++`, which an engine's process begins before it imports anything large.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from filelock import FileLock

SOURCE = Path(__file__).with_name("gemm.cpp")
SECONDS = 120
NEEDED = "avx512_bf16"
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fPIC", "-shared", "-Wl,--as-needed")


class CannotBuild(Exception):
    """The kernels cannot be compiled here; the message says why."""


def begin() -> None:
    """Compile in the background, for an engine that can use it; `built` waits until it is done."""

    def build() -> None:
        with contextlib.suppress(CannotBuild, OSError):  # told by who needs them
            if NEEDED in _instructions():
                built()

    if os.environ.get("VLLM_TARGET_DEVICE") == "cpu":
        threading.Thread(target=build, name="building of kernels", daemon=True).start()


def built(*more: str) -> str:
    """The path of the compiled kernels, compiled first where nobody has; `more` flags of g++.

    Raises CannotBuild, and OSError where the cache cannot be written.
    """
    command = [*_command(), *more]
    made = _cache() / f"gemm-{_name(command)}.so"
    made.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _require_private(made.parent)
    with FileLock(made.with_suffix(".lock"), timeout=SECONDS):
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=made.parent) as folder:
                fresh = Path(folder) / made.name
                _compile([*command, "-o", str(fresh)])
                fresh.replace(made)
    return str(made)


def load() -> None:
    """Make the kernels known to torch. Raises as `built` does, and OSError where they are broken.

    What is broken, by a power cut say, is removed, so that the next start compiles it again.
    """
    import torch  # noqa: PLC0415 - takes seconds, and `begin` does without

    made = built()
    try:
        torch.ops.load_library(made)
    except OSError:
        Path(made).unlink(missing_ok=True)
        raise


def _command() -> list[str]:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if not compiler:
        raise CannotBuild("no C++ compiler was found; install g++.")
    found = importlib.util.find_spec("torch")  # not imported: that takes seconds
    if found is None or found.origin is None:
        raise CannotBuild("PyTorch is not installed.")
    torch = Path(found.origin).parent
    libraries = [torch / "lib" / "libtorch_cpu.so", *(torch / "lib").glob("libgomp*.so*")]
    libraries += (torch.parent / "torch.libs").glob("libgomp*.so*")
    return [compiler, *FLAGS, "-isystem", str(torch / "include"), str(SOURCE), *map(str, libraries)]


def _name(command: list[str]) -> str:
    """Of what the kernels are made from: source, command, PyTorch, the processor's instructions."""
    torch = importlib.metadata.version("torch")
    compiler = subprocess.run(
        [command[0], "--version"], capture_output=True, text=True, check=False
    )
    parts = (
        SOURCE.read_text(),
        SOURCE.with_name("team.h").read_text(),
        *command,
        compiler.stdout,
        torch,
        _instructions(),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _instructions() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line for line in lines if line.startswith("flags")), "")


def _cache() -> Path:
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        raise CannotBuild("there is no home for a cache; set XDG_CACHE_HOME.") from None
    return home / "assistant-kernels"


def _require_private(folder: Path) -> None:
    """What is in it is run."""
    facts = folder.stat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise CannotBuild(
            f"{folder} is not ours alone; remove it, or set XDG_CACHE_HOME elsewhere."
        )


def _compile(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    try:
        subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.CalledProcessError as error:
        raise CannotBuild(f"{command[0]} failed: {error.stderr.strip()[-500:]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{command[0]}: {error}") from None
