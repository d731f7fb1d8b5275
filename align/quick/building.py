"""The kernels of our layers and head, compiled while a training imports what it needs."""

from pathlib import Path

from assistant.kernels import Kernels

HERE = Path(__file__).parent
KERNELS = Kernels(
    HERE / "layers.cpp",
    headers=(*sorted(HERE.glob("*.h")), HERE.parents[1] / "assistant" / "amx.h"),
    flags=(  # sums may be taken in any order
        "-fopenmp", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math",
        "-fno-math-errno",
    ),
)  # fmt: skip
