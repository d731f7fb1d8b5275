"""The registry: versions that are whole, never overwritten, and one of them current."""

import json
import pickle
from pathlib import Path

import pytest

from assistant.errors import ModelError, NotFound
from assistant.registry import Registry

CARD = {"kind": "dpo", "source": "round 1"}


def register(registry: Registry, model_folder, name: str = "v1", **files):
    return registry.register(name, model_folder(f"{name}-made", **files), **CARD)


def test_a_finished_folder_becomes_a_version(registry: Registry, model_folder):
    version = registry.register(
        *("v1", model_folder()), **CARD, base="v0", notes="Better.", facts={"steps": 3}
    )
    assert registry.get("v1") == version == registry.versions()[0]
    assert (version.kind, version.base, version.facts) == ("dpo", "v0", {"steps": 3})
    assert version.path == registry.folder / "v1"
    assert set(version.files) == {
        *("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja")
    }
    assert len(version.content_hash) == len(version.template_hash) == 64
    registry.verify(version)


def test_the_content_hash_follows_the_content(registry: Registry, model_folder):
    one = register(registry, model_folder, "v1")
    same = register(registry, model_folder, "v2")
    other = register(registry, model_folder, "v3", **{"model.safetensors": "Weights"})
    assert one.content_hash == same.content_hash != other.content_hash


@pytest.mark.parametrize("name", ["", "V1", "a b", "../up", "current", "assistant", "-x", "a" * 65])
def test_names_that_cannot_be_used(registry: Registry, model_folder, name: str):
    with pytest.raises(ModelError, match="cannot name a version"):
        registry.register(name, model_folder(), **CARD)
    assert not registry.has(name)
    with pytest.raises(NotFound):
        registry.get(name)


def test_nothing_is_overwritten(registry: Registry, model_folder):
    version = register(registry, model_folder)
    with pytest.raises(ModelError, match="already is a version 'v1'"):
        registry.register("v1", model_folder("again"), **CARD)
    registry.verify(version)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": None}, "no config.json"),
        ({"tokenizer.json": None}, "no tokenizer.json"),
        ({"model.safetensors": None}, "no \\*.safetensors"),
        ({"config.json": json.dumps({"auto_map": {}})}, "run code of its own"),
    ],
)
def test_what_is_no_model_is_refused(registry: Registry, model_folder, files, words):
    with pytest.raises(ModelError, match=words):
        registry.register("v1", model_folder(**files), **CARD)
    assert registry.versions() == []


def test_pickles_are_never_taken_for_weights(registry: Registry, model_folder, tmp_path: Path):
    folder = model_folder(**{"model.safetensors": None})
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match="pickle that can run code"):
        registry.register("v1", folder, **CARD)


def test_a_folder_in_place_is_registered_without_touching_it(registry: Registry, model_folder):
    folder = model_folder()
    before = sorted(folder.iterdir())
    version = registry.register_in_place("mine", folder, kind="folder", source=str(folder))
    assert registry.get("mine").path == folder == version.path
    assert sorted(folder.iterdir()) == before


def test_a_home_can_be_moved(registry: Registry, model_folder, tmp_path: Path):
    register(registry, model_folder)
    registry.promote("v1")
    (tmp_path / "home").rename(tmp_path / "elsewhere")
    moved = Registry(tmp_path / "elsewhere")
    assert moved.current is not None
    moved.verify(moved.current)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda file: file.unlink(), "lacks model.safetensors"),
        (lambda file: file.write_text("short"), "has 5 bytes instead of 7"),
        (lambda file: file.write_text("WEIGHTS"), "is not the file that was registered"),
    ],
)
def test_harmed_files_are_found(registry: Registry, model_folder, harm, words):
    version = register(registry, model_folder)
    harm(version.path / "model.safetensors")
    with pytest.raises(ModelError, match=words):
        registry.verify(version)


def test_a_damaged_card_is_told(registry: Registry, model_folder):
    version = register(registry, model_folder)
    (version.path / "card.json").write_text("{half")
    with pytest.raises(ModelError, match="is unreadable"):
        registry.versions()


def test_promotion_moves_the_pointer_and_keeps_a_history(registry: Registry, model_folder):
    assert registry.current is None
    for name in ("v1", "v2"):
        register(registry, model_folder, name)
        assert registry.promote(name) == registry.current
    with pytest.raises(NotFound):
        registry.promote("v3")
    history = [
        json.loads(line) for line in (registry.folder / "promotions.jsonl").read_text().splitlines()
    ]
    assert [(entry["from"], entry["to"]) for entry in history] == [(None, "v1"), ("v1", "v2")]


def test_a_version_half_made_leaves_nothing(registry: Registry):
    def stop_half_way() -> None:
        with registry.staging() as scratch:
            (scratch / "model.safetensors").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    assert list(registry.folder.iterdir()) == []
