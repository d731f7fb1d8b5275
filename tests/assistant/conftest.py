"""Homes and model folders for tests that need no real weights; databases, of both kinds."""

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from assistant import engine as engines
from assistant import engine_process
from assistant.registry import Registry
from tests.assistant.feedback.postgres import Databases, running_server

MakeFolder = Callable[..., Path]
NewDatabase = Callable[[], str]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home")


@pytest.fixture
def model_folder(tmp_path: Path) -> MakeFolder:
    """Makes a folder that looks like a model; its weights are a few bytes."""

    def make(name: str = "made", **files: str | None) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        contents = {
            "config.json": json.dumps({"architectures": ["LlamaForCausalLM"]}),
            "tokenizer.json": "{}",
            "model.safetensors": "weights",
            "chat_template.jinja": "{{ messages }}",
        }
        for file, text in (contents | files).items():
            if text is not None:
                (folder / file).write_text(text)
        return folder

    return make


@pytest.fixture
def home(registry: Registry, model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with versions v0 to v3, served by scripted engines; v0 and then v1 were promoted."""
    monkeypatch.setattr(engine_process, "CHILD", "tests.engine_child")
    monkeypatch.setattr(engines, "GRACE_SECONDS", 0.2)
    for name in ("v0", "v1", "v2", "v3"):
        registry.register(name, model_folder(f"{name}-made"), kind="round", source="round")
    registry.promote("v0")
    registry.promote("v1")
    return registry.folder.parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    with running_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """Makes the URL of a fresh, empty database at each call."""
    if request.param == "sqlite":
        numbers = count()
        yield lambda: f"sqlite:///{tmp_path}/store-{next(numbers)}.db"
        return
    databases = Databases(request.getfixturevalue("postgres_server"))
    yield databases.new
    databases.drop()


@pytest.fixture
def url(new_database: NewDatabase) -> str:
    return new_database()
