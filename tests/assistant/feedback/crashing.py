"""A store in a process of its own, which can be killed at any moment."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

from assistant.errors import AssistantError
from assistant.feedback.store import FeedbackStore

FORK = multiprocessing.get_context("fork")


class CrashingStore:
    """Calls are made in a child process; `call` returns once the child has acknowledged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._start()

    def call(self, part: str, method: str, *arguments: Any) -> Any:
        """A method of `store.<part>`; its errors are raised here."""
        self._pipe.send((part, method, arguments))
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def crash_during(self, part: str, method: str, *arguments: Any, after: float) -> None:
        """Ask for something, and kill the process some seconds later without hearing an answer."""
        self._pipe.send((part, method, arguments))
        self._pipe.poll(after)
        self.close()
        self._start()

    def close(self) -> None:
        assert self._child.pid is not None
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.join()
        self._pipe.close()

    def _start(self) -> None:
        self._pipe, theirs = FORK.Pipe()
        self._child = FORK.Process(target=_serve, args=(self._url, theirs), daemon=True)
        self._child.start()
        theirs.close()
        assert self._pipe.recv() == "open"


def _serve(url: str, pipe: Connection) -> None:
    with FeedbackStore(url) as store:
        pipe.send("open")
        while True:
            part, method, arguments = pipe.recv()
            try:
                pipe.send(getattr(getattr(store, part), method)(*arguments))
            except AssistantError as error:
                pipe.send(error)
