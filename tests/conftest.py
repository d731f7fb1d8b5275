"""Settings and parts that all tests share, and which of them share a worker."""

import os

import pytest
from filelock import FileLock
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from assistant import embedded
from assistant.registry import Registry
from assistant.version import Version

settings.register_profile("stable", derandomize=True, database=None, deadline=None)
settings.load_profile("stable")

TOGETHER = {  # what is made once for several files; any other file is a group of its own
    "tests/assistant/inside_vllm/": "a process that has vLLM imported",
    "tests/align/test_round.py": "measures of the tiny model",
    "tests/align/test_soup.py": "measures of the tiny model",
    "tests/align/test_measure.py": "measures of the tiny model",
}


class Together(LoadScopeScheduling):
    """Tests of one group go to one worker, so that what they share is made once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return next((group for path, group in TOGETHER.items() if file.startswith(path)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """Deal out groups; marks of xdist's own would do it, if pytest 9.2 heeded them."""
    return Together(config, log)


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
