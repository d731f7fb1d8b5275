"""What a processor can do is read from what Linux lists."""

import re
import sys

import pytest

from assistant import processor


@pytest.mark.parametrize(
    ("listed", "quick"),
    [
        ("fpu avx2 fma", False),
        ("fpu avx2 avx512f avx512bw", True),
        ("fp asimd bf16", True),
        ("fp asimd", False),
        ("", True),  # where nothing is listed, nothing is known against it
    ],
)
def test_16_bits_need_their_instructions(monkeypatch: pytest.MonkeyPatch, listed: str, quick: bool):
    monkeypatch.setattr(processor, "instructions", lambda: listed)
    assert processor.multiplies_bf16() is quick


@pytest.mark.parametrize(
    ("listed", "multiplied"),
    [
        ("fpu avx2 fma", "float32"),
        ("fpu avx2", None),
        ("fpu avx2 fma avx512f avx512bw", None),
        ("fpu avx2 fma avx512f avx512bw avx512_bf16", "bfloat16"),
        ("fpu avx2 fma avx512f avx512_bf16", "float32"),
        ("fp asimd bf16", None),
        ("", None),
    ],
)
def test_what_our_kernels_multiply(
    monkeypatch: pytest.MonkeyPatch, listed: str, multiplied: str | None
):
    monkeypatch.setattr(processor, "instructions", lambda: listed)
    assert processor.products() == multiplied


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what its processor can do")
def test_linux_names_a_processor_and_what_it_can_do():
    assert processor.instructions()
    assert re.fullmatch(r".+ \((amx_bf16|avx512_bf16|no bf16)\)", processor.described())
