"""The classifier of texts: what it reads, how it is kept, which one answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from assistant.errors import Invalid, ModelError, NotServed
from assistant.moderation import CONFIG, LONGEST, WEIGHTS, Classifier, Moderators, features
from assistant.registry import Registry
from tests.assistant.moderators import WORD, flagging, registered


def test_a_text_falls_into_the_same_buckets_in_every_process():
    places, amounts = features("Hello, hello you", 4096)
    assert sorted(places.tolist()) == sorted(features("hello HELLO you!", 4096)[0].tolist())
    assert np.isclose(np.linalg.norm(amounts), 1)
    assert places.min() == 23


@pytest.mark.parametrize("text", ["", " ", "?!"])
def test_a_text_without_words_says_nothing(text: str):
    assert len(features(text, 4096)[0]) == 0
    assert flagging().probability(text) < 0.05


@pytest.mark.parametrize("text", [f"{WORD} " + "a " * LONGEST, "a " * LONGEST + WORD])
def test_both_ends_of_a_long_text_are_read(text: str):
    def places(of: str) -> set[int]:
        return set(features(of, 2**18)[0].tolist())

    assert places(WORD) <= places(text)


def test_words_of_other_scripts_are_read():
    assert len(features("你好吗", 4096)[0]) > 3


def test_it_is_read_as_it_was_written(tmp_path: Path):
    version = registered(Registry(tmp_path), "guard")
    read = Classifier.of(version)
    for text in (f"Where is the {WORD}?", "Where is the bread?"):
        assert read.probability(text) == flagging().probability(text)
    assert read.probabilities([WORD, "bread"])[0] > 0.5 > read.probabilities(["bread"])[0]


def test_one_of_another_form_is_refused(tmp_path: Path):
    version = registered(Registry(tmp_path), "guard")
    config = version.path / CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | {"form": "of tomorrow"}))
    with pytest.raises(ModelError, match="no classifier that this release can read"):
        Classifier.of(version)


def test_the_newest_answers_unless_another_is_named(tmp_path: Path):
    registry = Registry(tmp_path)
    moderators = Moderators(registry)
    with pytest.raises(NotServed, match="`align safety` makes one"):
        moderators.find(None)
    registered(registry, "b-guard")
    assert moderators.find(None)[0].name == "b-guard"
    registered(registry, "c-guard", "knife")
    found, classifier = moderators.find(None)
    assert found.name == "c-guard"
    assert classifier.probability("knife") > 0.5
    assert moderators.find("b-guard")[1].probability("knife") < 0.5
    with pytest.raises(NotServed, match="b-guard, c-guard"):
        moderators.find("d-guard")


def test_a_damaged_one_is_not_asked(tmp_path: Path):
    registry = Registry(tmp_path)
    version = registered(registry, "guard")
    file = version.path / WEIGHTS
    file.write_bytes(file.read_bytes()[:-4] + b"\x00\x00\x80\x7f")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        Moderators(registry).find(None)


def test_one_is_never_promoted(tmp_path: Path):
    registry = Registry(tmp_path)
    registered(registry, "guard")
    with pytest.raises(Invalid, match="judges answers"):
        registry.promote("guard")
