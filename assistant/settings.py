"""The knobs of the served program: one dataclass, read from the environment and from flags."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from assistant.errors import Invalid

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """Chat page and OpenAI-compatible API on one port. Every flag is also ASSISTANT_<NAME>."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 7860
    """Port of the page and the API."""
    home: Path = Path("data")
    """Folder of everything the program keeps: versions, judgements, logs."""
    model: str = "current"
    """What to serve: `current`, a version's name, a local folder, or a hub name."""
    candidate: str | None = None
    """A second version to serve beside it, for comparing the two."""
    database_url: str | None = None
    """Where judgements are stored (postgresql://…); without it, SQLite in the home folder."""
    engine_url: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Remote OpenAI-compatible engine to use instead of one on this machine; may be repeated."""
    engine_key: Annotated[str | None, tyro.conf.Suppress] = field(default=None, repr=False)
    """What remote engines ask for; only from the environment, where other users cannot read it."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the model (faster answers, slower first start); auto: if a C++ compiler is found."""
    context: int | None = None
    """Longest prompt plus answer in tokens; without it, what the model was made for."""
    log: Literal["file", "stdout", "off"] = "file"
    """Where each request to the API becomes a line of JSON, without what was said."""
    drain: int = 15
    """How many seconds answers may take to finish when the program is told to stop."""

    secret_file: Path | None = None
    """What signs browsers' cookies; programs over one database share it. Without, in the home."""

    @property
    def secret(self) -> Path:
        """The file that holds the secret; made where there is none."""
        return self.secret_file or self.home / "secret"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the port."""
        return self.host in LOOPBACK

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the feedback store."""
        if self.database_url is None:
            return f"sqlite:///{self.home.resolve() / 'feedback.db'}"
        return self.database_url


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read ASSISTANT_* by exact name; an unset or empty variable keeps the default."""

    def value(name: str) -> str | None:
        return environ.get(f"ASSISTANT_{name}") or None

    port = value("PORT") or str(Settings.port)
    context = value("CONTEXT")
    drain = value("DRAIN") or str(Settings.drain)
    if not all(number.isdigit() for number in (port, drain, context or "0")):
        names = "ASSISTANT_PORT, ASSISTANT_CONTEXT and ASSISTANT_DRAIN"
        raise Invalid(f"{names} must be whole numbers.")
    compiled = value("COMPILE") or Settings.compile
    if compiled not in ("auto", "on", "off"):
        raise Invalid(f"ASSISTANT_COMPILE is {compiled!r}; it must be auto, on or off.")
    log = value("LOG") or Settings.log
    if log not in ("file", "stdout", "off"):
        raise Invalid(f"ASSISTANT_LOG is {log!r}; it must be file, stdout or off.")
    secret = value("SECRET_FILE")
    return Settings(
        host=value("HOST") or Settings.host,
        port=int(port),
        home=Path(value("HOME") or Settings.home),
        model=value("MODEL") or Settings.model,
        candidate=value("CANDIDATE"),
        database_url=value("DATABASE_URL"),
        engine_url=tuple((value("ENGINE_URL") or "").replace(",", " ").split()),
        engine_key=value("ENGINE_KEY"),
        compile=compiled,  # type: ignore[arg-type]
        context=int(context) if context else None,
        log=log,  # type: ignore[arg-type]
        drain=int(drain),
        secret_file=Path(secret) if secret else None,
    )


def parse(arguments: Sequence[str] | None = None, program: str = "app.py") -> Settings:
    """Settings from the command line, with the environment as defaults."""
    default = from_environment(os.environ)
    unset = replace(default, engine_url=())  # flags are added to each other, not to these
    settings = tyro.cli(Settings, default=unset, args=arguments, prog=program)
    if not settings.engine_url:
        settings = replace(settings, engine_url=default.engine_url)
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Refuse what would fail later or expose the program by accident."""
    if not 0 < settings.port < 65536:
        raise Invalid(f"Port {settings.port} does not exist; choose one from 1 to 65535.")
    if settings.engine_url and settings.candidate:
        raise Invalid(
            "A candidate is served by an engine on this machine; with --engine-url, give the "
            "second engine's URL instead."
        )
