"""Doors for tests: who asks is known, and what they use is counted."""

from assistant.access.accounts import Accounts
from assistant.access.callers import Caller
from assistant.access.door import Door
from tests.assistant.feedback.said import ANN

ANNS_CALLS = Caller(ANN, "page", "salt of Ann")


def opened(url: str, *, free: bool = True) -> Door:
    """A door over the accounts in that database."""
    return Door(Accounts(url), b"a secret of tests", free=free)
