"""Who asks: a program with a key, a program of this machine, or a browser."""

from dataclasses import dataclass

from assistant.access.keys import Key, Scope
from assistant.errors import Forbidden, NotServed

LOCAL_OWNER = "local"  # whoever uses the API on this machine while there are no keys
PAGE = "page"


@dataclass(frozen=True)
class Caller:
    """Somebody who may ask. What they store belongs to `owner`; the ledger calls them `who`."""

    owner: str
    who: str
    salt: str
    """Keeps others from guessing prompts by how fast the engine's prompt cache answers."""
    key: Key | None = None

    @property
    def party(self) -> str:
        """Who queues as one: everybody with the same key, however many browsers they use."""
        return self.key.id if self.key else self.owner

    @property
    def trains(self) -> bool:
        """Whether a judgement of theirs is itself consent to train on what it names."""
        return self.key is None or self.key.trains

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless their key was given that scope."""
        if self.key and not self.key.allows(scope):
            raise Forbidden(
                f"This key has no scope {scope!r} (it has: {', '.join(self.key.scopes)}); make one "
                f"that has: assistant keys create NAME --scope {scope}."
            )

    def may_ask(self, *names: str) -> bool:
        """Whether their key lets them ask a version that has these names."""
        return self.key is None or any(map(self.key.may_ask, names))

    def require_version(self, *names: str) -> None:
        """Raise NotServed unless they may ask the version."""
        if not self.may_ask(*names):
            raise NotServed(f"The model {names[0]!r} is not served to this key.")
