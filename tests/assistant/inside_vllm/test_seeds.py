"""What we mend in vLLM: each test also says when vLLM no longer needs it."""

from importlib.metadata import entry_points
from typing import Any

import pytest

from assistant.version import Version
from tests.assistant.inside_vllm.conftest import InVllm

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def found(embedded_version: Version, in_vllm: InVllm) -> dict[str, Any]:
    """What a real vLLM says to a seed, without the patch and with it."""
    return in_vllm("seeded_vllm", "seeded", str(embedded_version.path))


def test_vllm_still_dies_of_a_seed_when_a_prompt_is_read_in_pieces(found):
    assert "does not use offset" in found.get("without", ""), "vLLM mended it: drop our patch"


def test_a_seed_gives_the_same_answer_however_the_prompt_was_read(found):
    [whole] = found["in one piece"]
    assert len(set(whole)) > 1
    assert found["in pieces"] == [whole]


def test_several_seeded_prompts_at_once_are_answered(found):
    """Not compared: what else is in a batch changes the rounding of sums."""
    assert [len(tokens) for tokens in found["several in pieces"]] == [8] * 4


def test_vllm_is_told_of_the_patch():
    assert "assistant" in entry_points(group="vllm.general_plugins").names
