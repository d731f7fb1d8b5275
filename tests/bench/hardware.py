"""What a benchmark ran on, as its first line."""

import importlib.metadata
import os
import platform
from pathlib import Path


def hardware(*packages: str) -> str:
    """Cores, processor, Python and the versions of some packages."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    known = [f"{os.cpu_count()} cores", processor(), f"Python {platform.python_version()}"]
    return ", ".join(known + versions)


def processor() -> str:
    """The processor's name, and whether it multiplies bf16 matrices in hardware."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    special = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in facts.get("flags", "")]
    return (
        f"{facts.get('model name', platform.processor())} ({special[0] if special else 'no bf16'})"
    )
