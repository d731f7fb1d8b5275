"""Code of others: it runs, fails, hangs and cheats in a process of its own."""

import os
import time
from pathlib import Path

import pytest

from align.verifiers.isolation import LOST, MOST_KILLED, Limits, call, passes, require, run

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
    assert call(file, "double", [[1], [2]]) == [(2, ""), (4, "")]
    assert call(file, "double", []) == []


def test_what_a_function_writes_is_no_result(file: Path):
    file.write_text("import os\ndef loud(n):\n    os.write(1, b'[9, 9]\\n')\n    return n\n")
    assert call(file, "loud", [[1], [2]]) == [(1, ""), (2, "")]


@pytest.mark.parametrize(
    ("worst", "why"),
    [(3, "ValueError: three!"), (5, "it took longer than 1 s"), (7, "nothing came back"),
     (9, "TypeError: Object of type set is not JSON serializable")],
)  # fmt: skip
def test_a_call_that_goes_wrong_costs_no_other(file: Path, worst: int, why: str):
    file.write_text(STOPS)
    given, lost = [[2], [worst], [4], [worst], [6]], (None, why)
    found = call(file, "half", given, Limits(seconds=1))
    assert found == [(1.0, ""), lost, (2.0, ""), lost, (3.0, "")]


def test_a_function_that_always_hangs_is_not_called_for_ever(file: Path):
    file.write_text(STOPS)
    found = call(file, "half", [[5]] * 9, Limits(seconds=0.3))
    late, lost = (None, "it took longer than 0.3 s"), (None, LOST.format(MOST_KILLED))
    assert found == [late] * MOST_KILLED + [lost] * (9 - MOST_KILLED)


def test_each_call_has_its_own_time(file: Path):
    file.write_text("import time\ndef slow(n):\n    time.sleep(0.3)\n    return n\n")
    found = call(file, "slow", [[n] for n in range(6)], Limits(seconds=1))
    assert found == [(n, "") for n in range(6)]


def test_a_function_that_hangs_is_ended_with_what_it_started(file: Path):
    marked = f"sleep 60.{os.getpid()}"
    file.write_text(f"import os\ndef wait():\n    os.system('{marked} & {marked}')\n")
    began = time.monotonic()
    found = call(file, "wait", [[]], Limits(seconds=1, processes=9))
    assert found == [(None, "it took longer than 1 s")]
    assert time.monotonic() - began < 10
    assert os.system(f"pgrep -f '^{marked}' > /dev/null") != 0


def test_what_a_function_started_ends_with_it(file: Path):
    marked = f"sleep 61.{os.getpid()}"
    file.write_text(f"import os\ndef leave():\n    os.system('{marked} &')\n    return 1\n")
    assert call(file, "leave", [[]], Limits(processes=9)) == [(1, "")]
    assert os.system(f"pgrep -f '^{marked}' > /dev/null") != 0


def test_a_file_or_function_that_is_broken_is_said(file: Path):
    file.write_text("def f(:")
    assert call(file, "f", [[]])[0][1].startswith("SyntaxError")
    with pytest.raises(ValueError, match="SyntaxError"):
        require(file, "f")
    file.write_text("")
    assert "has no attribute 'f'" in call(file, "f", [[]])[0][1]
    with pytest.raises(ValueError, match="has no attribute 'f'"):
        require(file, "f")
    file.write_text("def f(): pass")
    require(file, "f")


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
        ("import __main__, os\n__main__.out.write(__main__.mark)\nos._exit(0)", False),
    ],
)
def test_code_passes_its_tests_or_not(code: str, passed: bool):
    assert passes(code, "assert add(1, 2) == 3", SOON) is passed


def test_tests_may_be_a_list_and_are_python():
    code = "def add(a, b): return a + b"
    assert passes(code, ["assert add(1, 2) == 3", "assert add(0, 0) == 0"], SOON)
    assert not passes(code, ["assert add(1, 2) == 3", "assert add(0, 0) == 1"], SOON)
    with pytest.raises(ValueError, match="the row's tests are no Python"):
        passes(code, "assert add(1, 2 == 3", SOON)


def test_it_sees_neither_our_environment_nor_our_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "hidden")
    script = "import os; print(os.environ.get('SECRET'), os.listdir(), file=out)"
    assert run(script, "").out == "None []\n"
