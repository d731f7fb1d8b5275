"""Keys, limits and usage in one database; opened once by a program."""

from assistant.access.alone import LoneMeter
from assistant.access.keys import Keys
from assistant.access.ledger import Ledger
from assistant.access.limits import Meter
from assistant.feedback.database import Opened, open_database


class Accounts(Opened):
    """Keys are written to last; counts are written fast, and may lose a moment to a power cut."""

    def __init__(self, url: str, *, alone: bool = False) -> None:
        """`alone` says that no other program answers requests over this database."""
        self._lasting = open_database(url)
        self._fast = open_database(url, lasting=False)
        self.keys = Keys(self._lasting)
        self.meter = LoneMeter(self._fast) if alone else Meter(self._fast)
        self.ledger = Ledger(self._fast)

    def close(self) -> None:
        """Let go of the database."""
        self._lasting.dispose()
        self._fast.dispose()
