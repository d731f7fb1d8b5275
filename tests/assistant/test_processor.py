"""What a processor can do is read from what Linux lists."""

import pytest

from assistant import processor


@pytest.mark.parametrize(
    ("listed", "quick"),
    [
        ("flags : fpu avx2 fma", False),
        ("flags : fpu avx2 avx512f avx512bw", True),
        ("Features : fp asimd bf16", True),
        ("Features : fp asimd", False),
        ("", True),  # where nothing is listed, nothing is known against it
    ],
)
def test_16_bits_need_their_instructions(monkeypatch: pytest.MonkeyPatch, listed: str, quick: bool):
    monkeypatch.setattr(processor, "instructions", lambda: listed)
    assert processor.multiplies_bf16() is quick
