"""Publishing: engines load 8 bits where that is faithful, and the version's own files where not."""

import json

import pytest

from align import fidelity
from align.publish import KEPT, publish
from align.rendering import tokenizer_of
from align.training import load
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.align.conftest import NAME, tiny_model

WORSE = {"perplexity": fidelity.Check(0.02, 0.01, "plain text is less likely")}
BETTER = {"perplexity": fidelity.Check(0.005, 0.01, "plain text is less likely")}


def quiet(_line: str) -> None:
    """Nobody reads along."""


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(settings.home)


@pytest.mark.long
def test_a_version_is_served_in_8_bits_that_a_real_engine_read(
    settings: Settings, registry: Registry
):
    version = publish(NAME, "int8", settings, quiet)
    assert version.published.form == "int8", version.published.reasons
    assert set(version.published.checks) == {"kept", "divergence", "agreement", "perplexity"}
    assert version.served != version.path
    config = json.loads((version.served / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    registry.verify_served(version)
    assert load(version.path).dtype == load(registry.get(NAME).path).dtype  # trained from as before
    (version.served / "model.safetensors").unlink()  # what is damaged can be taken back
    again = publish(NAME, "bf16", settings, quiet)
    assert again.served == again.path
    assert not version.served.exists()


@pytest.mark.long
def test_more_stays_in_bf16_until_that_is_faithful(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
):
    found = [WORSE, WORSE, BETTER]
    monkeypatch.setattr(fidelity, "in_perplexity", lambda *_: found.pop(0))
    said: list[str] = []
    version = publish(NAME, "int8", settings, said.append)
    assert version.published.form == "int8"
    shares = [line.split(", ")[1] for line in said if line.startswith("Reading")]
    assert shares == [f"{share:.0%} of its weights in bf16" for share in KEPT[:3]]
    assert not version.published.checks["perplexity"]["failed"]
    assert version.published.checks["kept"]["value"] == KEPT[2]


@pytest.mark.long
def test_no_engine_is_started_for_what_draws_tokens_differently(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    worse = {"agreement": fidelity.Check(0.9, 0.95, "other tokens are likeliest", least=True)}
    monkeypatch.setattr(fidelity, "in_tokens", lambda *_: worse)
    monkeypatch.setattr(fidelity, "in_perplexity", lambda *_: BETTER)
    said: list[str] = []
    version = publish(NAME, "int8", settings, said.append)
    assert [line for line in said if line.startswith("Reading")] == [
        f"Reading plain text with an engine of it, {KEPT[-1]:.0%} of its weights in bf16"
    ]
    assert version.published.form == "bf16"
    assert version.published.reasons == (
        "other tokens are likeliest (agreement 0.9, at least 0.95)",
    )


def test_a_form_that_is_not_faithful_is_not_served_and_says_why(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fidelity, "in_perplexity", lambda *_: WORSE)
    version = publish(NAME, "int8", settings, quiet)
    assert version.served == version.path
    assert version.published.form == "bf16"
    assert "plain text is less likely (perplexity 0.02, at most 0.01)" in version.published.reasons
    assert not list((registry.folder / NAME).glob("int8-*"))
    assert not list(registry.folder.glob(".making-*"))


@pytest.mark.parametrize(
    ("value", "limit", "least", "failed"),
    [(1, 2, False, False), (3, 2, False, True), (1, 2, True, True), (3, 2, True, False)],
)
def test_a_check_fails_beyond_its_limit(value: float, limit: float, least: bool, failed: bool):
    assert fidelity.Check(value, limit, "", least).failed is failed
    assert fidelity.Check(float("nan"), limit, "", least).failed


def test_a_model_compared_with_itself_agrees(tiny: Version):
    exact, tokenizer = load(tiny.path).float().eval(), tokenizer_of(tiny.path)
    expected = fidelity.expected_of(exact, tokenizer)
    assert len(expected.answers) == fidelity.QUESTIONS
    assert all(1 <= len(answer) <= fidelity.ANSWER_TOKENS for _, answer in expected.answers)
    checks = fidelity.in_tokens(expected, tiny_model().float().eval(), frozenset())
    assert 0 < checks["divergence"].value < 0.01
    assert 0.9 < checks["agreement"].value <= 1


def test_another_architecture_is_refused_in_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("align.int8.MLP", ("mlp.experts",))
    with pytest.raises(Invalid, match=r"LlamaForCausalLM cannot be published .* mlp.experts"):
        publish(NAME, "int8", settings, quiet)
