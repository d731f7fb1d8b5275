"""What this machine's processor can do."""

from pathlib import Path

MULTIPLIES_BF16 = {"avx512bw", "bf16"}  # on x86, and on ARM; without them a product takes 100 times


def instructions() -> str:
    """As Linux lists them; nothing where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def multiplies_bf16() -> bool:
    """Whether matrices in 16 bits (bf16) are multiplied at least as fast as in 32.

    Without such instructions PyTorch does it number by number.
    """
    listed = instructions().split()
    return not listed or not MULTIPLIES_BF16.isdisjoint(listed)
