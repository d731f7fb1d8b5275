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


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what its processor can do")
def test_linux_names_a_processor_and_what_it_can_do():
    assert processor.instructions()
    assert re.fullmatch(r".+ \((amx_bf16|avx512_bf16|no bf16)\)", processor.described())
