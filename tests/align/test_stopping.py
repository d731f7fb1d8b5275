"""What ends a command from outside is one sentence; what is a defect of ours stays one."""

import errno

import pytest
import torch

from align.stopping import why_stopped


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyboardInterrupt(), "run the same command again to go on"),
        (MemoryError(), "not memory enough"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "not memory enough"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("a file could not be written"), "a file could not be written"),
    ],
)
def test_what_comes_from_outside_is_said(error: BaseException, words: str):
    assert words in why_stopped(error)


def test_a_cpu_without_memory_is_said():
    with pytest.raises(RuntimeError) as met:
        torch.empty(2**60, dtype=torch.uint8)
    assert "not memory enough" in why_stopped(met.value)


def test_our_own_defects_are_not_excused():
    assert why_stopped(RuntimeError("shapes do not match")) == ""
