"""The feedback store: one door to everything that is kept of what people said."""

from pathlib import Path

from assistant.feedback import importing
from assistant.feedback.comparisons import Comparisons
from assistant.feedback.completions import Completions
from assistant.feedback.conversations import Conversations
from assistant.feedback.database import Opened, open_database
from assistant.feedback.judgements import Judgements
from assistant.feedback.responses import Responses
from assistant.feedback.rows import Snapshot


class FeedbackStore(Opened):
    """Conversations, judgements and kept completions in one database.

    Every method returns only after its rows are on disk. Methods block; async callers hand them
    to a thread.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = open_database(url)
        read = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self.engine = read
        self.conversations = Conversations(self._engine, read)
        self.judgements = Judgements(self._engine, read)
        self.completions = Completions(self._engine, read)
        self.responses = Responses(self._engine, read)
        self.comparisons = Comparisons(self._engine, read)

    def snapshot(self) -> Snapshot:
        """Everything that training rows are made from; judgements first, so none is dangling."""
        judgements = tuple(self.judgements.all())
        consented = self.conversations.consented()
        return Snapshot(self.conversations.everything(), judgements, consented)

    def load(self, file: Path, *, skip_broken: bool = False) -> importing.Report:
        """Import a file of judgements given elsewhere."""
        return importing.load(self._engine, file, skip_broken=skip_broken)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()
