"""Compiling kernels of our own on the machine that runs them: once, for all homes of a user."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from assistant.processor import instructions

SECONDS = 120
KEPT_SECONDS = 30 * 24 * 3600
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fPIC", "-shared", "-Wl,--as-needed")


class CannotBuild(Exception):
    """The kernels cannot be compiled here; the message says why."""


@dataclass(frozen=True)
class Kernels:
    """A source that registers operations with torch, what it includes, and its flags of g++."""

    source: Path
    headers: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ()

    def begin(self) -> None:
        """Compile in the background, while something large is imported; `built` waits for it."""

        def build() -> None:
            with contextlib.suppress(CannotBuild, OSError):  # told by who needs them
                self.built()

        threading.Thread(target=build, name="building of kernels", daemon=True).start()

    def built(self, *more: str) -> str:
        """The path of the compiled kernels, compiled first where nobody has; `more` flags of g++.

        Raises CannotBuild, and OSError where the cache cannot be written.
        """
        command = [*_command(self.source), *self.flags, *more]
        made = _cache() / f"{self.source.stem}-{self._name(command)}.so"
        made.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_private(made.parent)
        with FileLock(made.with_suffix(".lock"), timeout=SECONDS):
            if not made.exists():
                with tempfile.TemporaryDirectory(dir=made.parent) as folder:
                    fresh = Path(folder) / made.name
                    _compile([*command, "-o", str(fresh)])
                    fresh.replace(made)
                self._forget(made.parent)
            os.utime(made)
        return str(made)

    def _forget(self, cache: Path) -> None:
        """Remove what nobody has used for long: an older source, or another PyTorch."""
        for file in cache.glob(f"{self.source.stem}-*"):
            if time.time() - file.stat().st_mtime > KEPT_SECONDS:
                file.unlink(missing_ok=True)

    def load(self, load_library: Callable[[str], None]) -> None:
        """Make them known to torch, by `torch.ops.load_library`.

        Raises as `built` does, and OSError where they are broken; what is broken, by a power cut
        say, is removed, so that the next start compiles it again.
        """
        made = self.built()
        try:
            load_library(made)
        except OSError:
            Path(made).unlink(missing_ok=True)
            raise

    def _name(self, command: list[str]) -> str:
        """Of what they are made from: source, command, PyTorch, the processor's instructions."""
        torch = importlib.metadata.version("torch")
        compiler = subprocess.run(
            [command[0], "--version"], capture_output=True, text=True, check=False
        )
        texts = [file.read_text() for file in (self.source, *self.headers)]
        parts = (*texts, *command, compiler.stdout, torch, instructions())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _command(source: Path) -> list[str]:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if not compiler:
        raise CannotBuild("no C++ compiler was found; install g++.")
    found = importlib.util.find_spec("torch")  # not imported: that takes seconds
    if found is None or found.origin is None:
        raise CannotBuild("PyTorch is not installed.")
    torch = Path(found.origin).parent
    libraries = [torch / "lib" / "libtorch_cpu.so", *(torch / "lib").glob("libgomp*.so*")]
    libraries += (torch.parent / "torch.libs").glob("libgomp*.so*")
    return [compiler, *FLAGS, "-isystem", str(torch / "include"), str(source), *map(str, libraries)]


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
