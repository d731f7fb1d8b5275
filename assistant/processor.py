"""What this machine's processor can do."""

import platform
from pathlib import Path
from typing import Literal

MULTIPLIES_BF16 = {"avx512bw", "bf16"}  # on x86, and on ARM; without them a product takes 100 times
QUICKLY = ("amx_bf16", "avx512_bf16")
IN_FLOAT32 = {"avx2", "fma"}


def described() -> str:
    """Its name, and what multiplies 16 bits (bf16) in it."""
    listed = instructions().split()
    special = next((one for one in QUICKLY if one in listed), "no bf16")
    return f"{_fact('model name') or platform.processor() or platform.machine()} ({special})"


def instructions() -> str:
    """As Linux lists them; nothing where it does not."""
    return _fact("flags", "Features")


def multiplies_bf16() -> bool:
    """Whether matrices in 16 bits (bf16) are multiplied at least as fast as in 32.

    Without such instructions PyTorch does it number by number.
    """
    listed = instructions().split()
    return not listed or not MULTIPLIES_BF16.isdisjoint(listed)


def products() -> Literal["bfloat16", "float32"] | None:
    """What our kernels of an engine multiply here, if anything (`inside_vllm/gemm.cpp`)."""
    listed = instructions().split()
    if multiplies_bf16():
        return "bfloat16" if "avx512_bf16" in listed else None
    return "float32" if IN_FLOAT32.issubset(listed) else None


def _fact(*names: str) -> str:
    """What Linux tells of the first core under one of these names; nothing where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    facts = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in facts if name.strip() in names), "")
