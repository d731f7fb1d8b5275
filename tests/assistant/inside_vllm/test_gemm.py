"""Products of our own kernels: right for any number of rows, used by vLLM, and worth having."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from assistant.inside_vllm import gemm
from tests.assistant.inside_vllm.conftest import InVllm
from tests.e2e.product import ROOT

WITHOUT_AMX = ("-mno-amx-tile", "-mno-amx-bf16", "-mno-amx-int8")
WITH_AVX2 = (*WITHOUT_AMX, "-mno-avx512f")
BF16 = pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="this processor has no AVX-512 with bf16"
)
AMX = pytest.mark.skipif(not torch.cpu._is_amx_tile_supported(), reason="this processor has no AMX")
AVX2 = pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="this processor has no AVX2")
OURS = pytest.mark.skipif(gemm.precision() is None, reason="there is no kernel for this processor")
RIGHT = """
import json, sys
import torch
from assistant.inside_vllm.building import KERNELS

torch.manual_seed(1)
precision = getattr(torch, sys.argv[1])
torch.ops.load_library(KERNELS.built(*sys.argv[2:]))
ours, worst, alone = torch.ops.assistant, 0.0, True
for outputs, inputs in ((16, 32), (48, 64), (96, 576), (80, 1536), (1040, 64)):
    weight, bias = torch.randn(outputs, inputs).bfloat16(), torch.randn(outputs)
    packed = ours.pack(weight)
    for rows in (0, 1, 2, 3, 4, 5, 7, 15, 16, 17, 32, 33, 100):
        wide, tall = torch.randn(rows, inputs + 32), torch.randn(inputs, rows)
        wide, tall = wide.to(precision), tall.to(precision)
        for x in (wide[:, :inputs].contiguous(), wide[:, :inputs], tall.t()):
            for added in (None, bias):
                exact = x.double() @ weight.double().t() + (0 if added is None else added.double())
                y = ours.linear(x, packed, added)
                assert y.shape == exact.shape and y.dtype == precision
                if rows:
                    worst = max(worst, float(((y - exact).abs() / exact.abs().max()).max()))
                    alone &= torch.equal(y[-1:], ours.linear(x[-1:], packed, added))
print(json.dumps([worst, alone]))
"""
ROUNDED = """
import json, sys
import torch
from assistant.inside_vllm.building import KERNELS

torch.manual_seed(1)
precision = getattr(torch, sys.argv[1])
torch.ops.load_library(KERNELS.built(*sys.argv[2:]))
ours, worst = torch.ops.assistant, 0.0
for outputs, inputs in ((16, 64), (1040, 64), (96, 576), (80, 1536)):
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
    scales, bias, packed = torch.rand(outputs) / 100, torch.randn(outputs), ours.pack(weight)
    for rows in (0, 1, 2, 3, 7, 8, 9, 16, 17, 65, 130):
        x = (torch.randn(rows, inputs) * torch.rand(rows, 1) * 9).to(precision)
        one = x.float().abs().amax(1, keepdim=True) / 127
        exact = (x.float() * (1 / one)).round().double() @ weight.double().t() * one * scales + bias
        y = ours.linear_int8(x, packed, scales, bias)
        assert y.shape == exact.shape
        if rows:
            worst = max(worst, float(((y - exact).abs() / exact.abs().max()).max()))
nothing = torch.zeros(2, 1536, dtype=precision)
zero = ours.linear_int8(nothing, packed, scales, None)
x[0, 3], x[2, 3] = float("nan"), float("inf")
broken = ours.linear_int8(x, packed, scales, None).isnan().all(1).tolist()
assert broken == [True, False, True] + [False] * (len(x) - 3)
print(json.dumps([worst, float(zero.abs().max())]))
"""


def told(script: str, *arguments: str) -> Any:
    """What a script prints in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("precision", "flags"),
    [
        pytest.param("bfloat16", (), marks=BF16, id="as here"),
        pytest.param("bfloat16", WITHOUT_AMX, marks=(BF16, pytest.mark.long), id="without AMX"),
        pytest.param("float32", WITH_AVX2, marks=AVX2, id="AVX2"),
    ],
)
def test_products_are_right_and_a_row_does_not_depend_on_the_others(
    precision: str, flags: tuple[str, ...]
):
    worst, alone = told(RIGHT, precision, *flags)
    assert worst < (0.004 if precision == "bfloat16" else 1e-5)  # half a place of bf16
    assert alone


@pytest.mark.parametrize(
    ("precision", "flags"),
    [
        pytest.param("bfloat16", (), marks=AMX, id="AMX"),
        pytest.param("float32", WITH_AVX2, marks=AVX2, id="AVX2"),
    ],
)
def test_products_in_8_bits_are_right(precision: str, flags: tuple[str, ...]):
    worst, zero = told(ROUNDED, precision, *flags)
    assert worst < (0.01 if precision == "bfloat16" else 1e-5)
    assert zero == 0


@OURS
@pytest.mark.long
def test_vllm_uses_them_where_they_fit_and_is_faster_for_it(in_vllm: InVllm):
    """Where its own are as fast, ours can go."""
    found = in_vllm("patched_vllm", "multiplies")
    assert (found["ours"], found["same"], found["odd"]) == (True, True, True)
    assert (found["bias"], found["bias later"]) == (True, True)
    assert (found["shape"], found["no rows"]) == ([2, 2, 3072], [0, 3072])
    assert (found["odd ours"], found["finer"]) == (False, True)
    assert found["int8"] < 0.02
    amx, floats = torch.cpu._is_amx_tile_supported(), gemm.precision() == torch.float32
    assert found["int8 ours"] == (amx or floats)
    assert found["own"] < 0.9 * found["theirs"]


@pytest.mark.parametrize(
    ("shape", "kind", "fit"),
    [
        ((48, 64), torch.bfloat16, True),
        ((48, 64), torch.int8, True),
        ((48, 32), torch.int8, False),
        ((40, 64), torch.bfloat16, False),
        ((0, 64), torch.bfloat16, False),
        ((2, 16, 32), torch.bfloat16, False),
    ],
)
def test_what_fits(shape: tuple[int, ...], kind: torch.dtype, fit: bool):
    assert gemm.fits(torch.empty(shape, dtype=kind)) == fit


@OURS
def test_kernels_that_take_other_numbers_are_not_used(monkeypatch: pytest.MonkeyPatch):
    """As where a compiler and Linux disagree about the processor."""
    other = {torch.bfloat16: torch.float32, torch.float32: torch.bfloat16}[gemm.precision()]
    assert gemm.load()
    monkeypatch.setattr(gemm, "precision", lambda: other)
    with pytest.raises(RuntimeError, match="inputs are bf16, or float32"):
        gemm.try_out()


@pytest.mark.parametrize("compiler", ["false", "/nowhere/g++"])
def test_without_a_compiler_all_stays_as_it_is(
    compiler: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(gemm, "precision", lambda: torch.bfloat16)
    gemm.load.cache_clear()
    assert not gemm.load()
    gemm.load.cache_clear()
    assert "left to vLLM" in caplog.text
    assert compiler in caplog.text
