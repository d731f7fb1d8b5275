"""Output that nobody reads to its end is no error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "command",
    [("align", "--help"), ("assistant", "--help"), ("assistant", "models")],
    ids=" ".join,
)
def test_a_reader_that_leaves_is_no_error(command: tuple[str, ...], tmp_path: Path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | {"ASSISTANT_HOME": str(tmp_path)},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
