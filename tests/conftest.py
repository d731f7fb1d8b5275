"""Settings and parts that all tests share."""

import pytest
from hypothesis import settings

from assistant import embedded
from assistant.registry import Registry
from assistant.version import Version

settings.register_profile("stable", derandomize=True, database=None, deadline=None)
settings.load_profile("stable")


@pytest.fixture(scope="session")
def embedded_version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The embedded model, really made; read it only."""
    registry = Registry(tmp_path_factory.mktemp("embedded"))
    return embedded.make(registry, lambda done, total: None)
