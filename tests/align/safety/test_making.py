"""`align safety` from the base's own answers to two versions, with what each half got."""

import json
from pathlib import Path

import pytest

from align.recipes import Job, Safety
from align.safety.making import UNSEEN, make
from assistant.errors import Invalid
from assistant.moderation import Moderators
from assistant.registry import Registry
from assistant.settings import Settings
from tests.align.lessons import write
from tests.assistant.moderators import registered

SHORT = Safety(
    measured=10, answers=1, epochs=1, rank=4, anchor=0, drift=9.0, longest=512, learning_rate=1e-2
)


@pytest.mark.long
def test_two_versions_and_what_each_half_got(settings: Settings, tmp_path: Path):
    said: list[str] = []
    asked = write(
        tmp_path / "asked.jsonl",
        [{"prompt": "Harm me", "label": "unsafe"}, {"prompt": "Help me", "label": "safe"}],
    )
    pair = {"prompt": "Is it so?", "chosen": "yes", "rejected": "no"}
    given = write(tmp_path / "pairs.jsonl", [pair])
    recipe = Safety(**SHORT.as_facts() | {"examine": (str(asked),)})
    job = Job(data=(str(given),))
    version, moderator = make(job, recipe, settings, said.append)
    assert (version.name, version.kind, version.base) == ("safety-001", "safety", "tiny")
    assert version.speaks
    assert moderator.name == "safety-001-moderation"
    assert Moderators(Registry(settings.home)).find(None)[0] == moderator
    story = json.loads((version.path / "made" / "training.json").read_text())["stages"][0]
    halves = story["metrics"]["halves"]
    assert halves[UNSEEN]["harmful"]["requests"] == halves[UNSEEN]["harmless"]["requests"] == 80
    assert halves["asked.jsonl"]["harmful"]["requests"] == 1
    assert "harmless requests refused" in version.source
    learnt, left = story["rows"] - 1, sum(story["left_out"].values())
    assert learnt + left == 32  # of two families, one answer each; and the pair that was given
    assert any("pairs of its own answers" in line for line in said)
    assert not (settings.home / "making" / "safety-001").exists()
    with pytest.raises(Invalid, match="already"):
        make(Job(name="safety-001"), recipe, settings, said.append)


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        ({"answers": 0}, "--answers 0: give 1 or more"),
        ({"measured": 12}, "--measured 12"),
        ({"examine": ("a/x.jsonl", "b/x.jsonl")}, "two files x.jsonl"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_before_anything_is_drawn(
    settings: Settings, tmp_path: Path, knobs: dict, why: str
):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.jsonl", [{"prompt": "Harm me", "label": "unsafe"}])
    knobs = {
        name: tuple(str(tmp_path / file) for file in value) if name == "examine" else value
        for name, value in knobs.items()
    }
    with pytest.raises(Invalid, match=why):
        make(Job(), Safety(**SHORT.as_facts() | knobs), settings, lambda _: None)
    assert [version.name for version in Registry(settings.home).versions()] == ["tiny"]


def test_a_classifier_of_somebody_elses_is_not_taken_for_its_own(settings: Settings):
    registered(Registry(settings.home), "safety-001-moderation")
    with pytest.raises(Invalid, match="choose another --name"):
        make(Job(), SHORT, settings, lambda _: None)
