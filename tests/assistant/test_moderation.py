"""The classifier of texts: what it reads, how it is kept, which one answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import Invalid, ModelError, NotServed
from assistant.moderation import (
    CONFIG,
    OVERLAP,
    PIECE,
    WEIGHTS,
    Classifier,
    Moderators,
    features,
    pieces,
)
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


@pytest.mark.parametrize("before", [0, PIECE, 5 * PIECE])
def test_a_word_counts_wherever_it_stands_in_a_long_text(before: int):
    around = "bread and butter, "
    text = around * (before // len(around)) + WORD + " " + around * (PIECE // 4)
    assert any(WORD in piece for piece in pieces(text))
    assert max(map(len, pieces(text))) == PIECE
    without = text.replace(WORD, "")
    assert flagging().probability(text) > flagging().probability(without)


@given(st.text(max_size=3 * PIECE))
def test_pieces_leave_nothing_out(text: str):
    found = pieces(text)
    assert found[0] + "".join(piece[OVERLAP:] for piece in found[1:]) == text


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


def test_of_one_that_somebody_may_not_ask_they_learn_nothing(tmp_path: Path):
    registry = Registry(tmp_path)
    for name in ("b-guard", "c-guard"):
        registered(registry, name)
    moderators = Moderators(registry)
    assert moderators.find(None, lambda name: name == "b-guard")[0].name == "b-guard"
    for name in ("c-guard", "d-guard"):
        with pytest.raises(NotServed, match=f"{name}' here; there are: b-guard\\.$"):
            moderators.find(name, lambda name: name == "b-guard")


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
