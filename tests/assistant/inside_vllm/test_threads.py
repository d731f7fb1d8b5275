"""How many threads a step takes, in a real vLLM; and that it makes no groups of one process."""

from types import SimpleNamespace
from typing import Any

import pytest

from assistant.inside_vllm import threads
from assistant.version import Version
from tests.assistant.inside_vllm.conftest import InVllm
from tests.assistant.inside_vllm.test_gemm import OURS

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def found(embedded_version: Version, in_vllm: InVllm) -> dict[str, Any]:
    """What a real vLLM does, on two cores."""
    return in_vllm("watched_vllm", "watched", str(embedded_version.path))


@OURS
def test_a_small_step_takes_one_thread_and_a_large_one_all(found):
    assert found["ours"]["read by"] == [2]
    assert found["ours"]["answered by"] == [1]
    assert found["vLLM's"]["answered by"] == [2]


@OURS
def test_attention_over_much_context_takes_all(found):
    assert found["long"]["answered by"] == [2]


def test_answers_do_not_depend_on_it(found):
    assert found["ours"]["said"] == found["long"]["said"] == found["vLLM's"]["said"]


def test_one_process_makes_no_groups(found):
    assert found["Gloo's threads"] <= 3


class Gomp:
    """libgomp's two functions."""

    number = 2

    def omp_get_max_threads(self) -> int:
        return self.number

    def omp_set_num_threads(self, number: int) -> None:
        self.number = number


def test_the_number_is_as_before_after_a_step_that_failed():
    taken = threads.Threads(Gomp())

    def fails(*_: Any) -> None:
        assert taken.now == 1
        raise RuntimeError("no step")

    model = SimpleNamespace(get_hidden_size=lambda: 576)
    runner = SimpleNamespace(shares_products=True, model_config=model)
    scheduled = SimpleNamespace(total_num_scheduled_tokens=3)
    with pytest.raises(RuntimeError, match="no step"):
        threads.steps(fails, taken)(runner, scheduled)
    assert taken.now == taken.all == 2
