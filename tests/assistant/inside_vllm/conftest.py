"""Processes that have vLLM imported: forked from one that imported it, since that takes seconds."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import forkserver
from typing import Any

import pytest

InVllm = Callable[..., Any]
IMPORTED = ["vllm.entrypoints.llm", "vllm.v1.worker.cpu_worker", "vllm.v1.engine.utils"]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "2",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}
SECONDS = 240


@pytest.fixture(scope="session")
def in_vllm() -> InVllm:
    """Answers what a function (of a module beside this one) returns in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        forkserver.ensure_running()

    def told(module: str, function: str, *arguments: Any) -> Any:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(called, module, function, *arguments).result(SECONDS)

    return told


def called(module: str, function: str, *arguments: Any) -> Any:
    """There, not here, is the module imported, and vLLM with it."""
    return getattr(import_module(f"{__package__}.{module}"), function)(*arguments)
