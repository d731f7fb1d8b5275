"""What this machine has, and how an engine should run on it."""

import contextlib
import ctypes.util
import importlib.util
import os
import shutil
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from assistant.errors import EngineError
from assistant.processor import multiplies_bf16

TCMALLOC = ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4")
LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
KV_CACHE_GIB = 1
TWO_ENGINES_GIB = 7  # of the machine's memory: each takes 2.5 for the model we ship
KEEP_ALIVE = "60"  # seconds; longer than our own side keeps an idle connection (15)
SPINCOUNT = "GOMP_SPINCOUNT"
SPINS = (
    "10000"  # about 0.1 ms that a thread waits awake for the others: most gaps in a step are less
)
EAGER = "--enforce-eager"
ON_A_GPU = (
    *("--enable-lora", "--max-loras", "3", "--max-cpu-loras", "8"),  # current, candidate, leaving
    *("--gpu-memory-utilization", "0.45"),  # room for a second family beside it
)
RUNTIME_ADAPTERS = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}  # on a socket that only we reach
FOR_A_FORKED_CORE = {  # vLLM sets these before it spawns a core; ours is forked
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1",
}


def take_turns() -> None:
    """Let Linux finish what runs before what wakes, in this process and in those it starts.

    Every token wakes the engine's server, this program and a client, beside threads that wait for
    each other; when each interrupts them at once, all wait longer (measured, see docs/serving.md).
    """
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):  # where it may not, it is only slower
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@dataclass(frozen=True)
class Machine:
    """The facts an engine's settings are chosen from."""

    cores: int
    memory_gib: float
    gpu: bool
    tcmalloc: str | None
    compiler: bool
    numa: bool
    gomp: str | None = None  # PyTorch's own, which must be the only one in an engine
    bf16: bool = True  # whether it multiplies in 16 bits

    @classmethod
    def this(cls) -> "Machine":
        """Look at the machine this runs on."""
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        headers = Path(sysconfig.get_path("include")) / "Python.h"
        return cls(
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
            memory_gib=pages / 2**30,
            gpu=Path("/dev/nvidia0").exists(),
            tcmalloc=_library(TCMALLOC),
            compiler=bool(shutil.which("g++") or shutil.which("c++")) and headers.is_file(),
            numa=ctypes.util.find_library("numa") is not None or bool(_library(("libnuma.so.1",))),
            gomp=_gomp(),
            bf16=multiplies_bf16(),
        )


@dataclass(frozen=True)
class EnginePlan:
    """Environment and flags of one vLLM child, and the sentence that explains them."""

    environment: dict[str, str]
    flags: tuple[str, ...]
    summary: str
    adapters: bool = False
    """Whether one engine serves all versions of a family, as adapters."""
    twice: bool = False
    """Whether memory holds an eager engine that answers until the compiled one is ready."""

    def eager(self) -> "EnginePlan":
        """The same without compilation: slower to answer, ready in a third of the time."""
        return replace(self, flags=(*self.flags, EAGER), twice=False)


def plan_engine(
    machine: Machine, compile_wanted: Literal["auto", "on", "off"], cache: Path
) -> EnginePlan:
    """Choose threads, memory, allocator and compilation; measured choices, see docs/serving.md.

    Raises EngineError where vLLM could not start at all.
    """
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CACHE_ROOT": str(cache),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "compiled"),  # what is in it is run: not in /tmp
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": KEEP_ALIVE,
    }
    if machine.gpu:
        summary = "one GPU, versions of a family as adapters of one engine"
        return EnginePlan(environment | RUNTIME_ADAPTERS, ON_A_GPU, summary, adapters=True)
    if not machine.numa:
        raise EngineError(
            "The engine needs the library libnuma.so.1; install it "
            "(Debian and Ubuntu: apt-get install libnuma1) and start again."
        )
    compiled = machine.compiler if compile_wanted == "auto" else compile_wanted == "on"
    environment |= {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": str(machine.cores),
        SPINCOUNT: os.environ.get(SPINCOUNT, SPINS),
        "VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GIB),
        "VLLM_USE_AOT_COMPILE": "0",  # its cache fails to load, so every start would recompile
    }
    environment |= FOR_A_FORKED_CORE | {"NUMEXPR_MAX_THREADS": str(machine.cores)}
    if preloaded := [library for library in (machine.tcmalloc, machine.gomp) if library]:
        environment["LD_PRELOAD"] = ":".join(preloaded)
    precision = "bfloat16" if machine.bf16 else "float32"
    flags: tuple[str, ...] = ("--dtype", precision, "--max-num-batched-tokens", "1024")
    summary = _summary(machine, compile_wanted, compiled)
    twice = machine.memory_gib > TWO_ENGINES_GIB
    plan = EnginePlan(environment, flags, summary, twice=twice)
    return plan if compiled else plan.eager()


def _summary(machine: Machine, compile_wanted: str, compiled: bool) -> str:
    how = "compiled" if compiled else "eager"
    if not compiled and compile_wanted == "auto":
        how += " (no C++ compiler or Python headers found: install g++ and python3-dev for speed)"
    if not machine.bf16:
        how += ", in 32 bits (this processor has no instructions for 16)"
    allocator = "tcmalloc" if machine.tcmalloc else "no tcmalloc (install libtcmalloc-minimal4)"
    return (
        f"{machine.cores} threads of {machine.memory_gib:.0f} GiB, "
        f"{KV_CACHE_GIB} GiB for context, {how}, {allocator}"
    )


def _gomp() -> str | None:
    torch = importlib.util.find_spec("torch")  # not imported: that takes seconds
    if torch is None or torch.origin is None:
        return None
    folder = Path(torch.origin).parent
    found = [*folder.parent.glob("torch.libs/libgomp*.so*"), *folder.glob("lib/libgomp*.so*")]
    return str(found[0]) if found else None


def _library(names: tuple[str, ...]) -> str | None:
    candidates = (Path(folder) / name for name in names for folder in LIBRARY_FOLDERS)
    return next((str(file) for file in candidates if file.exists()), None)
