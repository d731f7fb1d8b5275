"""Threads that share work where they are free: each piece once, and worth having."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.inside_vllm.building import HERE
from tests.assistant.inside_vllm.test_gemm import OURS
from tests.e2e.product import ROOT

STRESS = Path(__file__).with_name("stressed_team.cpp")
FLAGS = ("-std=c++20", "-O1", "-g", "-march=native", "-fopenmp", f"-I{HERE}")
WITHOUT_CHANCE = ("setarch", platform.machine(), "-R")  # of where memory lies, for the sanitizer
FORKED = """
import os, torch
from assistant.inside_vllm import gemm

assert gemm.load()
x, weight = torch.randn(3, 64).to(gemm.precision()), torch.randn(4096, 64).bfloat16()
packed = torch.ops.assistant.pack(weight)
right = torch.ops.assistant.linear(x, packed, None)
child = os.fork()
if not child:
    for _ in range(100):
        assert torch.equal(torch.ops.assistant.linear(x, packed, None), right)
    os._exit(len(os.listdir("/proc/self/task")))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="our kernels are for x86-64 only"),
]


def stress(folder: Path, part: str, *flags: str, around: tuple[str, ...] = ()) -> str:
    program = folder / "stress"
    compiler = shutil.which("g++")
    assert compiler, "the tests need g++"
    subprocess.run([compiler, *FLAGS, *flags, str(STRESS), "-o", str(program)], check=True)
    run = subprocess.run(
        [*around, str(program), part], capture_output=True, text=True, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def test_each_piece_is_done_once_and_threads_do_not_race(tmp_path: Path):
    assert stress(tmp_path, "right", "-fsanitize=thread", around=WITHOUT_CHANCE) == "0\n"


def test_work_waits_less_for_others_than_libgomps(tmp_path: Path):
    team, libgomp = json.loads(stress(tmp_path, "beside"))
    assert team < libgomp, "libgomp waits no longer: drop ours"


@OURS
def test_a_forked_process_has_helpers_of_its_own():
    script = [sys.executable, "-c", FORKED]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == "2\n"
