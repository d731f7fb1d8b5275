"""How many threads the small operations of a step take: one, as long as the step is small.

A step that answers a few people consists of a few large products, which share themselves out
(`team.h`), and of hundreds of small operations between them. Two threads save little in those, and
wait for each other each time, for milliseconds where another program has the core of one. Attention
over long contexts is the exception: it reads much, so that all threads take part.
"""

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from assistant.inside_vllm import gemm
from assistant.inside_vllm.building import KERNELS

# Measured with the embedded model, see docs/serving.md. In numbers of a layer: those are what takes
# time, while threads wait for each other as long in a small model as in a large one.
SMALL = 64 * 576  # hidden states of a step: 64 tokens of it
LONG = 4000 * 2 * 192  # keys and values of all contexts together: 4000 tokens of it
METADATA = 5  # its place after layer, query, key, value and cache

Method = Callable[..., Any]


def install() -> None:
    """Choose step by step, where products share themselves out."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - not in ours
    from vllm.v1.attention.backends import cpu_attn  # noqa: PLC0415
    from vllm.v1.worker import cpu_model_runner  # noqa: PLC0415

    runner: Any = getattr(cpu_model_runner, "CPUModelRunner", None)
    plan: Any = getattr(cpu_attn, "CPUAttentionMetadataBuilder", None)
    attention: Any = getattr(cpu_attn, "CPUAttentionBackendImpl", None)
    if not current_platform.is_cpu() or getattr(runner, "threads_are_chosen", False):
        return
    seams = ((runner, "execute_model"), (plan, "build"), (attention, "forward"))
    if not all(hasattr(*seam) for seam in seams):
        logging.getLogger(__name__).warning("vLLM makes its steps in another way: left as it is")
    elif gemm.load():
        threads = Threads(ctypes.CDLL(KERNELS.built()))
        runner.execute_model = steps(runner.execute_model, threads)
        plan.build = contexts(plan.build, threads)
        attention.forward = attending(attention.forward, threads)
        runner.threads_are_chosen = True


class Threads:
    """How many of libgomp's threads the next operations of this thread take."""

    def __init__(self, gomp: Any) -> None:
        self._gomp = gomp
        self.all = self.now

    @property
    def now(self) -> int:
        """As chosen."""
        return int(self._gomp.omp_get_max_threads())

    @contextmanager
    def taken(self, number: int) -> Iterator[None]:
        """So many, for a while."""
        before = self.now
        self._gomp.omp_set_num_threads(number)
        try:
            yield
        finally:
            self._gomp.omp_set_num_threads(before)


def steps(execute: Method, threads: Threads) -> Method:
    """Small steps take one thread, if all products are ours."""

    def execute_model(self: Any, scheduled: Any, *args: Any, **named: Any) -> Any:
        if not hasattr(self, "shares_products"):
            self.shares_products = all_products_are_ours(self.get_model())
        numbers = scheduled.total_num_scheduled_tokens * self.model_config.get_hidden_size()
        small = self.shares_products and numbers <= SMALL
        with threads.taken(1 if small else threads.all):
            return execute(self, scheduled, *args, **named)

    return execute_model


def contexts(build: Method, threads: Threads) -> Method:
    """Attention over much context is planned for all threads."""

    def build_for(self: Any, prefix: int, common: Any, *args: Any, **named: Any) -> Any:
        tokens = common.seq_lens.sum().item()
        long = tokens * 2 * self.num_kv_heads * self.head_dim > LONG
        number = threads.all if long else threads.now
        with threads.taken(number):
            metadata = build(self, prefix, common, *args, **named)
        metadata.threads = number
        return metadata

    return build_for


def attending(forward: Method, threads: Threads) -> Method:
    """Attention is done by those it was planned for."""

    def forward_by(self: Any, *given: Any, **named: Any) -> Any:
        metadata = given[METADATA] if len(given) > METADATA else named.get("attn_metadata")
        with threads.taken(getattr(metadata, "threads", threads.now)):
            return forward(self, *given, **named)

    return forward_by


def all_products_are_ours(model: Any) -> bool:
    """Whether no large product of a model needs libgomp's threads."""
    from vllm.model_executor.layers.linear import LinearBase  # noqa: PLC0415
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead  # noqa: PLC0415

    modules = list(model.modules())
    products = [module for module in modules if isinstance(module, LinearBase | ParallelLMHead)]
    experts = any("MoE" in type(module).__name__ for module in modules)
    return bool(products) and not experts and all(hasattr(p, gemm.OURS) for p in products)
