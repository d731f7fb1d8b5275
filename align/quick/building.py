"""The kernels of our layers, compiled while a training imports what it needs."""

from pathlib import Path

from assistant.kernels import Kernels

HERE = Path(__file__).parent
KERNELS = Kernels(
    HERE / "layers.cpp",
    headers=(HERE / "attention.h", HERE / "numbers.h"),
    flags=(  # sums may be taken in any order
        "-fopenmp", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math",
        "-fno-math-errno",
    ),
)  # fmt: skip
