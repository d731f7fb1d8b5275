"""Prompts: files people edit."""

import pytest

from assistant import prompts
from assistant.errors import Invalid
from assistant.page.strings import LANGUAGES


@pytest.mark.parametrize("kind", ["system", "consent"])
def test_every_language_has_its_text(kind: str):
    texts = {prompts.load(f"{kind}.{language}.txt") for language in LANGUAGES}
    assert len(texts) == len(LANGUAGES)
    assert all(texts)


def test_placeholders_are_filled_and_none_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    (tmp_path / "greet.txt").write_text("Hello $name, it costs $$5.\n")
    assert prompts.load("greet.txt", name="Ann") == "Hello Ann, it costs $5."
    with pytest.raises(KeyError):
        prompts.load("greet.txt", other="Ann")


def test_an_unknown_prompt_is_told_what_there_is():
    with pytest.raises(Invalid, match=r"there are: .*system\.en\.txt"):
        prompts.load("system.xx.txt")


def test_hashes_tell_texts_apart():
    assert prompts.text_hash("a") != prompts.text_hash("b")
    assert len(prompts.text_hash("")) == 16
