"""Seeds that do not end a CPU engine, and give the same answer however a prompt was read."""

import logging
from typing import Any

SEAMS = ("_sample", "_bookkeeping_sync")


def install() -> None:
    """Mend the runner of models."""
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # noqa: PLC0415 - not in ours

    missing = [seam for seam in SEAMS if not hasattr(GPUModelRunner, seam)]
    if missing:
        logging.getLogger(__name__).warning("vLLM has no %s: seeds are not mended", missing)
    elif not getattr(GPUModelRunner, "seeds_mended", False):
        mend_seeds(GPUModelRunner)


def mend_seeds(runner: Any) -> None:
    """Let a CPU engine survive a seeded request whose prompt is read in several pieces.

    vLLM 0.32 samples after each piece, throws the token away, and then turns the request's
    generator back by a CUDA offset, which a CPU generator does not have: the engine dies. Here the
    state from before is put back, so that a seed also gives the same answer however the prompt was
    read.
    """
    sample, bookkeep = runner._sample, runner._bookkeeping_sync

    def _sample(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = [(generator, generator.get_state()) for generator in _too_early(self)]
        sampled = sample(self, *args, **kwargs)
        for generator, state in before:
            generator.set_state(state)
        return sampled

    def _bookkeeping_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
        batch = self.input_batch
        generators = batch.generators
        if self.device.type == "cpu":
            batch.generators = {}  # else vLLM turns them back
        try:
            return bookkeep(self, *args, **kwargs)
        finally:
            batch.generators = generators

    runner._sample, runner._bookkeeping_sync = _sample, _bookkeeping_sync
    runner.seeds_mended = True


def _too_early(runner: Any) -> list[Any]:
    """The CPU generators of requests whose prompt is not read to its end yet."""
    if runner.device.type != "cpu":
        return []
    batch = runner.input_batch
    unread = runner.discard_request_mask.np[: batch.num_reqs]
    return [generator for index, generator in batch.generators.items() if unread[index]]
