"""Promotions: the pointer to the current version, its history, and the way back."""

import json

import pytest

from assistant.errors import NotFound
from assistant.registry import Registry

CARD = {"kind": "round", "source": "round"}


@pytest.fixture
def versions(registry: Registry, model_folder) -> Registry:
    """A registry with v0 to v3, none of them current."""
    for number in range(4):
        name = f"v{number}"
        base = f"v{number - 1}" if number else None
        registry.register(name, model_folder(f"{name}-made"), **CARD, base=base)
    return registry


def promote(registry: Registry, *names: str) -> None:
    for name in names:
        registry.promote(name)


def current(registry: Registry) -> str | None:
    return registry.current.name if registry.current else None


def test_a_rollback_goes_one_back_and_the_next_one_further(versions: Registry):
    promote(versions, "v0", "v1", "v2")
    assert versions.rollback().name == "v1" == current(versions)
    assert versions.rollback().name == "v0" == current(versions)
    with pytest.raises(NotFound, match="nothing to roll back to"):
        versions.rollback()
    assert current(versions) == "v0"


def test_after_a_rollback_the_next_promotion_follows_the_version_gone_back_to(versions: Registry):
    promote(versions, "v0", "v1", "v2")
    versions.rollback()
    versions.promote("v3")
    assert versions.rollback().name == "v1"
    assert versions.rollback().name == "v0"


def test_an_old_version_promoted_again_can_be_rolled_back(versions: Registry):
    promote(versions, "v0", "v1", "v0")
    assert versions.rollback().name == "v1"
    assert versions.rollback().name == "v0"
    with pytest.raises(NotFound):
        versions.rollback()


def test_promoting_the_current_version_again_is_no_step(versions: Registry):
    promote(versions, "v0", "v1", "v1", "v1")
    assert versions.rollback().name == "v0"


@pytest.mark.parametrize("names", [(), ("v0",)])
def test_with_nothing_before_a_rollback_says_so_and_changes_nothing(versions: Registry, names):
    promote(versions, *names)
    before = versions.history()
    with pytest.raises(NotFound, match="no version was promoted before"):
        versions.rollback()
    assert versions.history() == before


def test_a_version_put_back_in_anothers_place_leaves_no_way_to_that_one(versions: Registry):
    promote(versions, "v0", "v1", "v2")
    versions.promote("v1", "v2 could not be served", instead=True)
    assert current(versions) == "v1"
    assert versions.rollback().name == "v0"


def test_a_version_put_back_after_a_rollback_keeps_what_was_before(versions: Registry):
    promote(versions, "v0", "v1", "v2")
    versions.rollback()
    versions.promote("v2", "v1 could not be served", instead=True)
    assert current(versions) == "v2"
    assert versions.rollback().name == "v0"


def test_a_version_put_back_where_nothing_was_noted_is_current(versions: Registry):
    versions.promote("v1", "v0 could not be served", instead=True)
    assert current(versions) == "v1"
    with pytest.raises(NotFound):
        versions.rollback()


def test_the_history_says_when_from_where_to_where_and_why(versions: Registry):
    assert versions.history() == []
    versions.promote("v0", "first")
    versions.promote("v1", "60 votes give it 70 % (95 % sure: {57 %} to 81 %)")
    versions.rollback("from the page")
    found = versions.history()
    assert all(entry.pop("at").endswith("Z") for entry in found)
    assert found == [
        {"from": None, "to": "v0", "reason": "first"},
        {"from": "v0", "to": "v1", "reason": "60 votes give it 70 % (95 % sure: {57 %} to 81 %)"},
        {"from": "v1", "to": "v0", "reason": "from the page", "rollback": True},
    ]


def test_a_line_cut_off_by_a_power_cut_costs_no_other_line(versions: Registry):
    promote(versions, "v0", "v1")
    file = versions.folder / "promotions.jsonl"
    whole = file.read_text()
    file.write_text(whole + json.dumps({"at": "now", "from": "v1", "to": "v3"})[:20])
    assert [entry["to"] for entry in versions.history()] == ["v0", "v1"]
    versions.promote("v2")
    assert [entry["to"] for entry in versions.history()] == ["v0", "v1", "v2"]
    assert versions.rollback().name == "v1"


def test_what_cannot_be_promoted_leaves_all_as_it_was(versions: Registry):
    promote(versions, "v0")
    before = versions.history()
    with pytest.raises(NotFound, match="there are: v0, v1, v2, v3"):
        versions.promote("v9")
    assert (current(versions), versions.history()) == ("v0", before)


def test_another_program_sees_what_was_promoted(versions: Registry):
    other = Registry(versions.folder.parent)
    promote(versions, "v0", "v1")
    assert other.current == versions.get("v1")
    other.rollback()
    assert current(versions) == "v0"
    assert not list(versions.folder.glob("current.*"))


def test_the_lineage_leads_back_to_the_first(versions: Registry):
    assert versions.lineage(versions.get("v3")) == ["v3", "v2", "v1", "v0"]
    assert versions.lineage(versions.get("v0")) == ["v0"]


def test_the_lineage_names_a_base_that_is_gone_or_goes_in_a_circle(
    versions: Registry, model_folder
):
    orphan = versions.register("orphan", model_folder("orphan"), **CARD, base="gone")
    assert versions.lineage(orphan) == ["orphan", "gone"]
    card = versions.folder / "v0" / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"base": "v2"}))
    assert versions.lineage(versions.get("v2")) == ["v2", "v1", "v0"]


def test_what_a_killed_program_was_making_is_not_a_version(registry: Registry, model_folder):
    registry.register("made", model_folder(), kind="test", source="here")
    (registry.folder / "made").rename(registry.folder / ".making-1-2")
    assert registry.versions() == []
