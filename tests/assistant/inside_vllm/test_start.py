"""What we leave out of vLLM's start: each test also says when vLLM leaves it out itself."""

import pytest

from tests.assistant.inside_vllm.conftest import InVllm

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def found(in_vllm: InVllm) -> dict[str, object]:
    return in_vllm("patched_vllm", "start")


def test_vllm_still_spawns_its_core_on_a_cpu(found):
    assert found["spawns"], "vLLM may fork its core now: drop our patch"
    assert found["asks"]
    assert found["forks"] == "fork"


def test_vllm_still_looks_at_models_in_a_process_of_its_own(found):
    assert found["looks elsewhere"], "vLLM looks at models itself now: drop our patch"
    assert found["looks here"] == "here"
