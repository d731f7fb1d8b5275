"""Errors meant for people: each is one sentence saying what is wrong and what to do.

AssistantError
├── Invalid      what was sent cannot be accepted as it is
│   ├── TooLarge     … because of its size
│   └── TooSlow      … because it did not come to an end in time
├── Unknown      there is no key, or no such key
├── Forbidden    the key does not allow this
├── NotFound     there is no such thing, or it belongs to someone else
├── NotServed    the version exists but no engine serves it
├── NotReady     it will work in a moment; try again after `retry_after` seconds
├── Busy         too many ask; try again after `retry_after` seconds
├── TooMuch      the key's limit is reached; try again after `retry_after` seconds
├── ModelError   weights, tokenizer or model name are unusable
├── EngineError  the engine failed while answering
│   └── Unreached    … before it began: another engine may be asked
└── StoreError   the feedback store cannot be opened, read or written
"""

import logging


class AssistantError(Exception):
    """Base of every error whose text is meant for a person."""


class Invalid(AssistantError):
    """What was sent cannot be accepted as it is; `param` names the offending field."""

    def __init__(self, sentence: str, param: str | None = None) -> None:
        super().__init__(sentence)
        self.param = param


class Shortage(Invalid):
    """The machine has too little of something now; it may have enough later."""


class TooLarge(Invalid):
    """What was sent is larger than we read."""


class TooSlow(Invalid):
    """What was sent did not come to an end in time."""


class Unknown(AssistantError):
    """There is no key where one is needed, or it opens nothing (any more)."""


class Forbidden(AssistantError):
    """The key is fine, but was not given the right to do this."""


class NotFound(AssistantError):
    """There is no such thing, or it belongs to someone else: callers cannot tell which."""


class NotServed(AssistantError):
    """The named version exists, or might, but no engine serves it."""


class NotReady(AssistantError):
    """It will work in a moment; `retry_after` is in seconds."""

    def __init__(self, sentence: str, retry_after: int = 5) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Busy(AssistantError):
    """More ask than can be answered; `retry_after` is in seconds."""

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class TooMuch(AssistantError):
    """A key's limit is reached; `retry_after` is in seconds, `limits` what it may still use."""

    def __init__(self, sentence: str, retry_after: float, limits: dict[str, str]) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        self.limits = limits


class ModelError(AssistantError):
    """Weights, tokenizer or model name are unusable."""


class EngineError(AssistantError):
    """The engine failed while answering; `body` is its own OpenAI-shaped error, if it gave one."""

    def __init__(
        self, sentence: str, status: int = 502, body: dict[str, object] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.body = body or {}


class Unreached(EngineError):
    """The engine could not be asked, or would not answer now; another one may."""


class StoreError(AssistantError):
    """The feedback store cannot be opened, read or written; the sentence is for its operator."""

    @property
    def told(self) -> str:
        """What strangers are told: not where the store is."""
        why = " because its disk is full" if "is full" in str(self) else ""
        return f"The server's store cannot be used now{why}; nothing of this was stored."


def told(error: AssistantError) -> str:
    """What strangers are told of an error; the log has what only the operator may read."""
    if not isinstance(error, StoreError):
        return str(error)
    logging.getLogger(__name__).error("%s", error)
    return error.told
