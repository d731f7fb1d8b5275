"""The installer: what it would do on machines we do not have, and what it says is missing."""

import re
import sys
import threading
from pathlib import Path

import pytest

from requirements import install

LISTS = ("cpu", "gpu", "page", "test")


def packages(name: str) -> dict[str, str]:
    lines = (install.LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split(";")[0].split("#")[0].strip() for line in lines]
    return dict(pin.split("==") for pin in pins if pin and not pin.startswith("-"))


@pytest.mark.parametrize("name", LISTS)
def test_every_list_pins_every_package_and_names_no_index(name: str):
    text = (install.LISTS / f"{name}.txt").read_text(encoding="utf-8")
    assert packages(name)
    assert "://" not in text
    assert not re.search(r"^\s*--?(index|extra|find|f\b|i\b)", text, re.M)


def test_the_lists_agree_with_each_other():
    pinned: dict[str, str] = {}
    for name in LISTS:
        for package, version in packages(name).items():
            assert pinned.setdefault(package, version) == version, f"{package} in {name}.txt"


def test_what_breaks_a_cpu_torch_is_never_listed():
    harmful = {"torchvision", "torchaudio", "torchcodec", "triton", "vllm"}
    assert not harmful & set(packages("cpu"))


def torch_tries(*worked: bool) -> list[str]:
    """The commands that were tried until one worked, joined."""
    answers, tried = iter((False, *worked)), []  # first: is it there already?

    def run(command: list[str], *, quiet: bool = False) -> bool:
        tried.append(" ".join(command))
        return next(answers)

    install.install_torch(Path("python"), run)
    return tried[1:]


def test_torch_is_tried_from_the_smallest_download_to_the_largest():
    assert len(torch_tries(True)) == 1
    assert torch_tries(True)[0].endswith("--no-deps torch==2.13.0+cpu")
    with_uv = torch_tries(False, True, True)
    assert with_uv[1].endswith(install.UV)
    assert with_uv[2].endswith("--torch-backend=cpu --no-deps torch==2.13.0")
    last = torch_tries(False, True, False, True)[-1]
    assert last.endswith("torch==2.13.0")
    assert "--no-deps" not in last
    assert torch_tries(False, False, True)[-1].endswith("torch==2.13.0")


def test_no_torch_at_all_is_told():
    with pytest.raises(install.InstallError, match="PyTorch could not be installed"):
        torch_tries(False, False, False)


def test_what_a_machine_lacks_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(install.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    monkeypatch.setattr(install.sysconfig, "get_path", lambda name: "/nowhere")
    said = "\n".join(install.missing("cpu"))
    for package in ("libnuma1", "g++", "python3-dev", "libtcmalloc-minimal4"):
        assert f"apt-get install {package}" in said
    assert list(install.missing("page")) == []


def test_a_small_disk_is_told_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch):
    usage = type("Usage", (), {"free": 2**30})
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: usage)
    assert "Only 1.0 GiB of disk" in next(iter(install.missing("cpu")))


@pytest.mark.parametrize(
    ("system", "target"), [("Darwin", "page"), ("Windows", "page"), ("Linux", "cpu")]
)
def test_the_list_follows_the_system(monkeypatch: pytest.MonkeyPatch, system: str, target: str):
    monkeypatch.setattr(install.platform, "system", lambda: system)
    monkeypatch.setattr(install.Path, "exists", lambda path: False)
    assert install.this_platform() == target


def test_the_second_time_nothing_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(install, "VENV", tmp_path)
    monkeypatch.setattr(sys, "argv", ["install.py", "--platform", "cpu"])
    done: list[str] = []
    monkeypatch.setattr(install, "install", lambda target, tests: done.append(target))
    assert install.main() == 0
    assert install.main() == 0
    assert done == ["cpu"]
    monkeypatch.setattr(sys, "argv", ["install.py", "--platform", "cpu", "--with-tests"])
    assert install.main() == 0
    assert done == ["cpu", "cpu"]


def test_other_requirements_mean_another_installation(monkeypatch, tmp_path: Path):
    before = install.fingerprint("cpu", False)
    assert before == install.fingerprint("cpu", False) != install.fingerprint("cpu", True)
    (tmp_path / "cpu.txt").write_text("changed")
    monkeypatch.setattr(install, "LISTS", tmp_path)
    assert install.fingerprint("cpu", False) != before


def test_two_installations_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(install, "ROOT", tmp_path)
    events: list[str] = []

    def second() -> None:
        with install.alone():
            events.append("second")

    waiting = threading.Thread(target=second)
    with install.alone():
        waiting.start()
        waiting.join(0.3)
        events.append("first")
    waiting.join(5)
    assert events == ["first", "second"]
