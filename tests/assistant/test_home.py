"""Home: one program at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from assistant.errors import AssistantError
from assistant.home import claimed, secret

HOLD = """
import sys, time
from pathlib import Path
from assistant.home import claimed, secret
with claimed(Path(sys.argv[1]), "http://first"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_program_is_told_where_the_first_listens(tmp_path: Path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "home"], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with pytest.raises(AssistantError, match="http://first"), claimed(tmp_path / "home", "x"):
        pass
    first.kill()
    first.wait()
    with claimed(tmp_path / "home", "http://second"):  # a killed program holds nothing
        assert (tmp_path / "home" / "running-at").read_text() == "http://second"
    assert not (tmp_path / "home" / "running-at").exists()


def test_a_home_is_private(tmp_path: Path):
    with claimed(tmp_path / "home", "x"):
        assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(AssistantError, match="set ASSISTANT_HOME to another folder"),
        claimed(tmp_path / "file" / "home", "x"),
    ):
        pass


def test_a_secret_is_made_once_and_what_cannot_be_one_is_refused(tmp_path: Path):
    file = tmp_path / "secret"
    assert secret(file) == secret(file)
    file.write_bytes(b"short")
    with pytest.raises(AssistantError, match="shorter than 32 bytes"):
        secret(file)
    with pytest.raises(AssistantError, match="ASSISTANT_SECRET_FILE"):
        secret(tmp_path / "nowhere" / "secret")
