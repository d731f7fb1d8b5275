"""Code of others: it runs, fails, hangs and cheats in a process of its own."""

import os
import time
from pathlib import Path

import pytest

from align.verifiers.isolation import Limits, call, passes, run

SOON = Limits(seconds=2)
DOUBLE = "def double(n):\n    print('noise')\n    return 2 * n\n"
STOPS = """
import os, time
def half(n):
    if n == 3:
        raise ValueError("three!")
    if n == 5:
        time.sleep(60)
    if n == 7:
        os._exit(0)
    if n == 9:
        return {1}
    return n / 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.py"


def test_a_function_of_ones_own_is_called(file: Path):
    file.write_text(DOUBLE)
    assert call(file, "double", [[1], [2]]) == ([2, 4], "")
    assert call(file, "double", []) == ([], "")


@pytest.mark.parametrize(
    ("worst", "why"),
    [(3, "ValueError: three!"), (5, "it took longer than 1 s"), (7, "nothing came back"),
     (9, "TypeError: Object of type set is not JSON serializable")],
)  # fmt: skip
def test_a_call_that_goes_wrong_costs_no_other(file: Path, worst: int, why: str):
    file.write_text(STOPS)
    given = [[2], [worst], [4], [worst], [6]]
    assert call(file, "half", given, Limits(seconds=1)) == ([1.0, None, 2.0, None, 3.0], why)


def test_a_function_that_always_hangs_is_not_called_for_ever(file: Path):
    file.write_text(STOPS)
    assert call(file, "half", [[5]] * 9, Limits(seconds=0.3))[0] == [None] * 9


def test_each_call_has_its_own_time(file: Path):
    file.write_text("import time\ndef slow(n):\n    time.sleep(0.3)\n    return n\n")
    assert call(file, "slow", [[n] for n in range(6)], Limits(seconds=1)) == ([*range(6)], "")


def test_a_function_that_hangs_is_ended_with_what_it_started(file: Path):
    marked = f"sleep 60.{os.getpid()}"
    file.write_text(f"import os\ndef wait():\n    os.system('{marked} & {marked}')\n")
    began = time.monotonic()
    found, failed = call(file, "wait", [[]], Limits(seconds=1, processes=9))
    assert (found, failed) == ([None], "it took longer than 1 s")
    assert time.monotonic() - began < 10
    assert os.system(f"pgrep -f '^{marked}' > /dev/null") != 0


def test_a_file_or_function_that_is_broken_is_said(file: Path):
    file.write_text("def f(:")
    assert call(file, "f", [[]])[1].startswith("SyntaxError")
    file.write_text("")
    assert "has no attribute 'f'" in call(file, "f", [[]])[1]


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        ("def add(a, b): return a + b", True),
        ("def add(a, b): return a - b", False),
        ("raise SystemExit(0)", False),
        ("import os; os._exit(0)", False),
        ("while True: pass", False),
        ("x = bytearray(10**10)\ndef add(a, b): return a + b", False),
        ("open('x', 'wb').write(bytes(10**9))\ndef add(a, b): return a + b", False),
        ("print('passed')\ndef add(a, b): return 0", False),
        ("def add(", False),
    ],
)
def test_code_passes_its_tests_or_not(code: str, passed: bool):
    assert passes(code, "assert add(1, 2) == 3", SOON) is passed


def test_it_sees_neither_our_environment_nor_our_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "hidden")
    script = "import os; print(os.environ.get('SECRET'), os.listdir())"
    assert run(script, "").out == "None []\n"
