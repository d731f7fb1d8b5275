"""What is published beside a card: the form that engines load, verified, replaced, taken back."""

from pathlib import Path

import pytest

from assistant.__main__ import main
from assistant.errors import ModelError
from assistant.home import claimed
from assistant.registry import Registry
from assistant.version import Version

CHECKS = {"perplexity": {"value": 0.002, "limit": 0.01, "failed": False}}


@pytest.fixture
def version(registry: Registry, model_folder, monkeypatch: pytest.MonkeyPatch) -> Version:
    monkeypatch.setenv("ASSISTANT_HOME", str(registry.folder.parent))
    registry.register("v1", model_folder(), kind="folder", source="here")
    return registry.promote("v1")


def made(registry: Registry, text: str = "8 bits") -> Path:
    with registry.staging() as scratch:
        folder = registry.folder / "made"
        scratch.rename(folder)
    (folder / "model.safetensors").write_text(text)
    return folder


def test_a_version_that_never_was_published_is_served_from_its_own_files(version: Version):
    assert version.served == version.path
    assert version.published.form == "bf16"


def test_engines_load_the_published_form_and_training_the_version(
    registry: Registry, version: Version, capsys
):
    now = registry.publish(version, made(registry), CHECKS, [])
    assert now == registry.get("v1") == registry.current
    assert (now.path, now.content_hash) == (version.path, version.content_hash)
    assert (now.served / "model.safetensors").read_text() == "8 bits"
    assert now.published.checks == CHECKS
    registry.verify_served(now)
    main(["doctor"])
    assert "v1: 4 files as registered, served in 8 bits" in capsys.readouterr().out
    main(["models", "--json"])
    assert '"form": "int8"' in capsys.readouterr().out


def test_a_form_taken_back_is_removed(registry: Registry, version: Version):
    served = registry.publish(version, made(registry), CHECKS, []).served
    assert registry.publish(version, None, {}, []).served == version.path
    assert not served.exists()


def test_publishing_anew_replaces_the_old_form(registry: Registry, version: Version):
    first = registry.publish(version, made(registry), CHECKS, [])
    second = registry.publish(version, made(registry, "fewer"), CHECKS, [])
    assert first.served != second.served
    assert not first.served.exists()
    assert (second.served / "model.safetensors").read_text() == "fewer"


def test_a_form_that_a_running_program_may_load_again_stays_until_it_has_ended(
    registry: Registry, version: Version
):
    first = registry.publish(version, made(registry), CHECKS, [])
    with claimed(registry.folder.parent, "http://here"):
        registry.publish(version, None, {}, [])
        assert first.served.exists()
    registry.publish(version, None, {}, [])
    assert not first.served.exists()


def test_why_it_is_not_served_is_kept_and_told(registry: Registry, version: Version, capsys):
    now = registry.publish(version, None, CHECKS, ["plain text is less likely"])
    assert now.served == version.path
    main(["doctor"])
    assert "not served in 8 bits: plain text is less likely" in capsys.readouterr().out


def test_a_damaged_form_is_found_before_it_is_served(registry: Registry, version: Version):
    now = registry.publish(version, made(registry), CHECKS, [])
    (now.served / "model.safetensors").write_text("9 bits")
    with pytest.raises(ModelError, match=r"is not the file .* `align publish v1`"):
        registry.verify_served(now)
    registry.verify(now)  # it can be trained from, and published anew


def test_a_broken_note_is_named(registry: Registry, version: Version):
    (registry.folder / "v1" / "published.json").write_text("{")
    with pytest.raises(ModelError, match=r"published\.json is unreadable"):
        registry.get("v1")


def test_a_version_in_place_gets_its_form_in_the_home(
    registry: Registry, model_folder, tmp_path: Path
):
    folder = model_folder("elsewhere")
    before = sorted(folder.iterdir())
    version = registry.register_in_place("v2", folder, kind="folder", source="there")
    now = registry.publish(version, made(registry), CHECKS, [])
    assert now.served.is_relative_to(registry.folder)
    assert now.path == folder
    assert sorted(folder.iterdir()) == before
