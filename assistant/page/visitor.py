"""What every part of the page needs: who is asking, in which language, over which store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from assistant import prompts
from assistant.access.callers import Caller
from assistant.access.keys import Scope
from assistant.chat import Chat
from assistant.errors import AssistantError, told
from assistant.page.identity import COOKIE, Identity
from assistant.page.signing_in import SignedIn
from assistant.page.strings import Words
from assistant.pairs import Pairs
from assistant.registry import Registry
from assistant.rounds import Rounds

# Every handler is for our own page only, runs beside others, and shows no spinner of Gradio's.
EVENT: dict[str, Any] = {
    "api_visibility": "private",
    "concurrency_limit": None,
    "show_progress": "hidden",
}
# What answers at once answers in its own request. A queued event is told of by a stream that all of
# a page's events share and that ends with the last of them: one that comes just then waits for the
# next to open it again. Not for what changes a State, which redraws nothing then, and not for what
# tells people something besides an error (gr.Info, gr.Warning), which nobody would see.
AT_ONCE: dict[str, Any] = EVENT | {"queue": False}


@dataclass(frozen=True)
class Services:
    """What stands behind the page, whatever its language."""

    pairs: Pairs
    registry: Registry
    rounds: Rounds
    identity: Identity
    signed_in: SignedIn


@dataclass(frozen=True)
class Desk:
    """The services behind one language's page."""

    services: Services
    language: str
    say: Words

    @property
    def chat(self) -> Chat:
        """Who answers, and remembers."""
        return self.services.pairs.chat

    @property
    def pairs(self) -> Pairs:
        """Who draws two answers."""
        return self.services.pairs

    @property
    def registry(self) -> Registry:
        """The versions on this machine."""
        return self.services.registry

    @property
    def rounds(self) -> Rounds:
        """The rounds made here."""
        return self.services.rounds

    def owner(self, request: gr.Request) -> str:
        """The pseudonym of whoever sent an event; refused without our cookie."""
        owner = self.services.identity.owner(request.cookies.get(COOKIE))
        if owner is None:
            raise gr.Error(self.say("no_cookie"), print_exception=False)
        return owner

    async def caller(self, request: gr.Request, scope: Scope = "chat") -> Caller:
        """Who sent an event; refused on the page where `admitted` refuses."""
        try:
            return await self.admitted(request, scope)
        except AssistantError as error:
            raise gr.Error(told(error), print_exception=False) from error

    async def admitted(self, request: gr.Request, scope: Scope = "chat") -> Caller:
        """Who sent an event. Raises where they had to sign in, and their key lacks that scope."""
        key = await self.services.signed_in.key(request.request)
        caller = self.services.pairs.chat.door.browser(self.owner(request), key)
        caller.require(scope)
        if scope == "chat":
            caller.require_version(*self.chat.fleet.names_of_current())
        return caller

    @property
    def system_prompt(self) -> str:
        """What the model is told first, in the page's language."""
        return prompts.load(f"system.{self.language}.txt")

    @property
    def consent_notice(self) -> str:
        """The question of consent, in the page's language."""
        return prompts.load(f"consent.{self.language}.txt")


async def attempt(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Run blocking store work in a thread; what it complains about is shown on the page."""
    try:
        return await asyncio.to_thread(work, *arguments, **named)
    except AssistantError as error:
        raise gr.Error(told(error), print_exception=False) from error
