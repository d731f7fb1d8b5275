"""The whole program: page and API on one port, over supervised engines and the feedback store."""

import gc
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from assistant.errors import AssistantError, Forbidden
from assistant.machine import take_turns
from assistant.settings import Settings, parse

if TYPE_CHECKING:
    from assistant.engine_process import EngineProcess


SWITCH_SECONDS = 0.0005  # after which a thread lets another one go on; Python's 5 ms add up


def main() -> int:
    """Start everything; problems known before the start are one sentence and exit code 1."""
    try:
        settings = parse()
        take_turns()
        with listening(settings) as sock:
            serve(settings, sock)
    except AssistantError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def listening(settings: Settings) -> socket.socket:
    """The port, taken before anything slow or lasting is done."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        raise AssistantError(
            f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}); stop what uses "
            "it or choose another port with ASSISTANT_PORT."
        ) from None
    return sock


def say(line: str) -> None:
    """Tell the operator."""
    print(line, flush=True)


def serve(settings: Settings, sock: socket.socket) -> None:
    """Serve all of it until asked to stop, the only program on its home."""
    from assistant.engine_process import spare_process
    from assistant.home import claimed

    with claimed(settings.home, f"http://{settings.host}:{settings.port}"):
        spare = spare_process(settings)  # it imports vLLM while we import the page
        try:
            compose(settings, sock, spare)
        finally:
            if spare:
                spare.kill()


def answers_first() -> None:
    """Let answers wait neither for threads that write nor for the garbage collector.

    What was imported stays, and is not looked through again and again.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()


def compose(settings: Settings, sock: socket.socket, spare: "EngineProcess | None") -> None:
    """Put store, registry, fleet, API and page together, and serve them."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import uvicorn

    from assistant.access.accounts import Accounts
    from assistant.access.door import Door
    from assistant.api import gateway
    from assistant.api.bounded_http import BoundedHttp
    from assistant.api.observing import Observer, request_log
    from assistant.chat import Chat
    from assistant.feedback.store import FeedbackStore
    from assistant.fleet import Fleet
    from assistant.home import secret
    from assistant.metrics import Metrics
    from assistant.moderation import Moderators
    from assistant.page import build
    from assistant.page.identity import Identity
    from assistant.page.signing_in import SignedIn
    from assistant.page.visitor import Services
    from assistant.pairs import Pairs
    from assistant.registry import Registry
    from assistant.rollout import Rollout
    from assistant.rounds import Rounds
    from assistant.tracing import Tracing, endpoint
    from assistant.trials import Trials

    registry = Registry(settings.home)
    store = FeedbackStore(settings.database)
    accounts = Accounts(settings.database, alone=settings.database_url is None)
    own_secret = secret(settings.secret)
    if not settings.loopback and not accounts.keys.usable():
        raise Forbidden(
            f"Refusing to listen on {settings.host} without an API key, since anyone who "
            "reaches the port could use it. Make one first: assistant keys create NAME."
        )
    door = Door(accounts, own_secret, free=settings.loopback)
    fleet = Fleet(settings, registry, say, spare)
    trials = Trials(settings.home)
    pairs = Pairs(Chat(store, fleet, door), trials)
    rounds = Rounds(settings)
    rollout = Rollout(fleet, registry, trials, store, say)
    log = request_log(settings.log, settings.home / "logs")
    observer = Observer(Metrics(fleet), log, Tracing(endpoint()))
    app = gateway.build(pairs, rollout, observer, Moderators(registry))
    signed_in = SignedIn(own_secret, door)
    build.mount(app, Services(pairs, registry, rounds, Identity(own_secret), signed_in))
    say(f"Page and API: http://{settings.host}:{settings.port}")
    for asked_to_stop in (signal.SIGINT, signal.SIGTERM):
        # uvicorn drains, then raises the signal again: by then there is nothing left to do.
        signal.signal(asked_to_stop, lambda *_: None)
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        log_level="warning",
        timeout_graceful_shutdown=settings.drain,
    )
    answers_first()
    try:
        uvicorn.Server(config).run(sockets=[sock])
    finally:
        rounds.stop()


if __name__ == "__main__":
    sys.exit(main())
