"""Accounts in SQLite, and in a real PostgreSQL where there is one."""

from collections.abc import Iterator

import pytest

from assistant.access.accounts import Accounts


@pytest.fixture
def accounts(url: str) -> Iterator[Accounts]:
    with Accounts(url) as opened:
        yield opened
