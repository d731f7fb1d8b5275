"""The kernels of an engine, compiled while its process imports vLLM."""

import os
from pathlib import Path

from assistant.kernels import Kernels
from assistant.processor import products

HERE = Path(__file__).parent
KERNELS = Kernels(HERE / "gemm.cpp", headers=(*sorted(HERE.glob("*.h")), HERE.parent / "amx.h"))


def begin() -> None:
    """Compile in the background, for an engine that can use them."""
    if os.environ.get("VLLM_TARGET_DEVICE") == "cpu" and products():
        KERNELS.begin()
