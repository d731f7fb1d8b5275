"""A real engine that serves a version as an adapter of its family's first one.

Meant for GPUs; here it runs on a CPU, with one question at a time (more would be answered wrongly
by vLLM's CPU kernels, see docs/serving.md).
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from align.families import descend
from align.loading import load
from assistant.adapter_engine import AdapterEngine, Hosts
from assistant.engine import Engine
from assistant.local_engine import LocalEngine
from assistant.machine import RUNTIME_ADAPTERS, EnginePlan, Machine, plan_engine
from assistant.version import Version
from tests.align.conftest import tiny
from tests.align.test_families import stage

assert tiny

pytestmark = pytest.mark.long

PROMPT = list(range(5, 25))
ADAPTERS = ("--enable-lora", "--max-loras", "3", "--max-cpu-loras", "8")
START_SECONDS = 120


@pytest.fixture
def plan(tmp_path: Path) -> EnginePlan:
    """As on a GPU, but on what this machine has."""
    made = plan_engine(Machine.this(), "off", tmp_path / "cache")
    environment = made.environment | RUNTIME_ADAPTERS
    return replace(made, flags=made.flags + ADAPTERS, environment=environment, adapters=True)


def child_of(first: Version, folder: Path) -> Version:
    made = stage(first.path, folder, 1, 8)
    adapter = descend(first, [made / "made/adapter"], made / "made")
    facts = {"name": "child", "folder": str(made), "content_hash": "child", "adapter": adapter}
    return replace(first, **facts)


def expected(folder: Path) -> torch.Tensor:
    """Log-probabilities of the next token, by the merged weights."""
    with torch.no_grad():
        return load(folder)(torch.tensor([PROMPT])).logits[0, -1].float().log_softmax(-1)


async def likeliest(engine: Engine) -> dict[int, float]:
    """Log-probabilities of the likeliest next tokens, by an engine."""
    asked = {"prompt": PROMPT, "max_tokens": 1, "temperature": 0, "logprobs": 5}
    asked |= {"return_tokens_as_token_ids": True}
    async with engine.post("/v1/completions", asked, None) as response:
        [found] = (await response.json())["choices"][0]["logprobs"]["top_logprobs"]
    return {int(token.removeprefix("token_id:")): value for token, value in found.items()}


async def ready(*engines: Engine) -> None:
    async with asyncio.timeout(START_SECONDS):
        while any(engine.status.state != "ready" for engine in engines):
            assert all(engine.failures == 0 for engine in engines), engines[0].status
            await asyncio.sleep(0.1)


def test_an_adapter_answers_as_the_merged_weights_do(
    tiny: Version, plan: EnginePlan, tmp_path: Path
):
    child = child_of(tiny, tmp_path / "child")

    async def run() -> list[dict[int, float]]:
        hosts = Hosts(lambda version, how: LocalEngine(version, how, tmp_path / "logs", 256))
        one = AdapterEngine(tiny, hosts.of(tiny, tiny, plan))
        await one.start()
        other = AdapterEngine(child, hosts.of(child, tiny, plan))
        await other.start()
        assert other._host is one._host
        try:
            await ready(one, other)
            return [await likeliest(engine) for engine in (one, other, one)]
        finally:
            await other.stop()
            await one.stop()

    before, after, again = asyncio.run(run())
    for folder, found in ((tiny.path, before), (child.path, after)):
        exact = expected(folder)
        for token, value in found.items():
            assert abs(float(exact[token]) - value) < 0.1
    assert again == before
    assert max(abs(value - before.get(token, -99)) for token, value in after.items()) > 0.3
