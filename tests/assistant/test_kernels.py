"""Kernels of our own are compiled once, by who may, and again where they are broken."""

import os
from pathlib import Path

import pytest
import torch

from assistant import kernels
from assistant.inside_vllm.building import KERNELS


def test_they_are_compiled_once_and_kept_while_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled: list[str] = []

    def compile_nothing(command: list[str]) -> None:
        compiled.append(command[-1])
        Path(command[-1]).touch()

    monkeypatch.setattr(kernels, "_compile", compile_nothing)
    cache = tmp_path / "assistant-kernels"
    cache.mkdir(mode=0o700)
    unused, others = cache / "gemm-0123.so", cache / "layers-0123.so"
    for file in (unused, others):
        file.touch()
        os.utime(file, (0, 0))
    first = KERNELS.built()
    assert KERNELS.built() == first
    assert KERNELS.built("-O2") != first
    assert len(compiled) == 2
    assert not [left for left in cache.iterdir() if left.is_dir()]
    assert not unused.exists()
    assert others.exists()


def test_what_is_broken_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernels, "_compile", lambda command: Path(command[-1]).write_bytes(b"half"))
    with pytest.raises(OSError, match="Could not load this library"):
        KERNELS.load(torch.ops.load_library)
    assert not list(tmp_path.glob("assistant-kernels/*.so"))


def test_a_cache_that_others_may_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "assistant-kernels").mkdir()
    (tmp_path / "assistant-kernels").chmod(0o777)
    with pytest.raises(kernels.CannotBuild, match="not ours alone"):
        KERNELS.built()
