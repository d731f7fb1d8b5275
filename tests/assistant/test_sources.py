"""Sources: what people may call a model, and what happens when there is no such thing."""

import asyncio
from pathlib import Path

import pytest

from assistant import sources
from assistant.errors import ModelError, NotFound
from assistant.registry import Registry
from assistant.sources import resolve


def find(model: str, registry: Registry):
    return asyncio.run(resolve(model, registry, lambda line: None))


def test_versions_and_current_are_found_by_name(registry: Registry, model_folder):
    version = registry.register("v1", model_folder(), kind="dpo", source="round")
    registry.promote("v1")
    assert find("v1", registry) == find("current", registry) == version


def test_a_folder_is_registered_once(registry: Registry, model_folder):
    folder = model_folder("My Model (v2)")
    version = find(str(folder), registry)
    assert (version.name, version.kind, version.path) == ("my-model-v2", "folder", folder)
    assert find(str(folder), registry) == version
    other = find(str(model_folder("other/My Model (v2)")), registry)
    assert other.name == "my-model-v2-2"


def test_a_folder_without_a_model_is_refused(registry: Registry, tmp_path: Path):
    with pytest.raises(ModelError, match="is not a model folder"):
        find(str(tmp_path), registry)


def test_what_is_nothing_at_all_is_told_what_there_is(registry: Registry, model_folder):
    registry.register("v1", model_folder(), kind="dpo", source="round")
    with pytest.raises(NotFound, match=r"neither a version \(there are: v1\)"):
        find("v2", registry)


def test_a_hub_name_that_cannot_be_had_is_one_sentence(registry: Registry, monkeypatch):
    def offline(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(sources, "snapshot_download", offline)
    with pytest.raises(ModelError, match="could not be had from the hub") as caught:
        find("Nobody/Nothing", registry)
    assert "\n" not in str(caught.value)


def test_the_embedded_model_says_what_stands_in_its_way(registry: Registry, monkeypatch):
    registry.folder.parent.mkdir(parents=True)
    registry.folder.write_text("a file where the folder of versions should be")
    with pytest.raises(ModelError, match="Cannot write the model"):
        find("smollm2-135m-instruct-q4", registry)
