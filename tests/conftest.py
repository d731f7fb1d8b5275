"""Settings and parts that all tests share, and which of them share a worker."""

import os

import pytest
from filelock import FileLock
from hypothesis import settings

from assistant import embedded
from assistant.registry import Registry
from assistant.version import Version

settings.register_profile("stable", derandomize=True, database=None, deadline=None)
settings.load_profile("stable")

TOGETHER = {  # what is made once for several files; any other file is a group of its own
    "inside_vllm": "a process that has vLLM imported",
    "test_round.py": "measures of the tiny model",
    "test_soup.py": "measures of the tiny model",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one group go to one worker."""
    for item in items:
        group = next((TOGETHER[p] for p in item.path.parts if p in TOGETHER), str(item.path))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def embedded_version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The embedded model, really made, once for all workers; read it only."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    registry = Registry(folder / "embedded")
    with FileLock(folder / "embedded.lock"):
        if found := registry.versions():
            return found[0]
        return embedded.make(registry, lambda done, total: None)
