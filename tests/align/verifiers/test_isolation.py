"""Code of others: it runs, fails, hangs and cheats in a process of its own."""

import os
import time
from pathlib import Path

import pytest

from align.verifiers.isolation import Limits, call, passes, run

SOON = Limits(seconds=2)
DOUBLE = "def double(n):\n    print('noise')\n    return 2 * n\n"
STOPS = "def half(n):\n    if n == 3:\n        raise ValueError('three!')\n    return n / 2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.py"


def test_a_function_of_ones_own_is_called(file: Path):
    file.write_text(DOUBLE)
    assert call(file, "double", [[1], [2]]) == ([2, 4], "")
    assert call(file, "double", []) == ([], "")


def test_what_it_returned_before_it_stopped_counts(file: Path):
    file.write_text(STOPS)
    assert call(file, "half", [[2], [3], [4]]) == ([1.0, None, None], "ValueError: three!")


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
