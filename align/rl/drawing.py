"""Answers of the model under training, drawn by an engine of its own, many at a time."""

import asyncio
import logging
import shutil
import threading
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from align.sampling import engine_of, places_of
from assistant.errors import EngineError, NotReady
from assistant.local_engine import LocalEngine
from assistant.machine import Machine
from assistant.version import Version

logger = logging.getLogger(__name__)
T = TypeVar("T")
RELOADING = {"VLLM_SERVER_DEV_MODE": "1"}  # opens the ways to that, on the engine's own socket
PATIENCE = 600.0  # seconds in which at least one prompt of a phase gets its answers


@dataclass(frozen=True)
class Drawn:
    """The tokens of one answer, and what the engine thought of each (natural logarithms)."""

    ids: list[int]
    logps: list[float]


def write_weights(model: Any, folder: Path) -> None:
    """Save a model under training as an engine reads it: what adapters learnt is added.

    `model` is PEFT's; nothing of it changes.
    """
    base = model.get_base_model()
    weights: dict[str, torch.Tensor] = {}
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight.detach()
            learnt = module.get_delta_weight(module.active_adapters[0]).detach()
            weights[f"{name}.weight"] = (weight.float() + learnt.float()).to(weight.dtype)
    for name, weight in base.state_dict().items():
        if "lora_" not in name and ".base_layer." not in name:
            weights.setdefault(name, weight.detach())
    tied = base.config.get_text_config().tie_word_embeddings
    whole = {n: w.contiguous() for n, w in weights.items() if not (tied and n == "lm_head.weight")}
    save_file(whole, folder / "next.safetensors", metadata={"format": "pt"})
    (folder / "next.safetensors").replace(folder / "model.safetensors")


class Engine:
    """An engine of the weights that were last written; used from one thread.

    New weights are read by the running engine, since a start takes longer than many a phase.
    """

    def __init__(self, base: Version, folder: Path, home: Path) -> None:
        self._version = replace(base, folder=str(folder), name=f"{base.name}-under-training")
        self._home = home
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="drawing", daemon=True).start()
        self._running: AbstractAsyncContextManager[LocalEngine] | None = None
        self._engine: LocalEngine | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for file in base.path.iterdir():
            if file.is_file() and not file.name.endswith((".safetensors", ".index.json")):
                shutil.copyfile(file, folder / file.name)

    def refresh(self, model: Any) -> None:
        """Draw from what the model is now. Raises EngineError where that cannot be served."""
        write_weights(model, self._version.path)
        if self._engine is not None:
            try:
                self._wait(self._reload(self._engine))
                return
            except (EngineError, NotReady) as error:  # it died, or cannot read weights where it is
                logger.warning("The engine is started anew, which takes longer: %s", error)
                self.stop()
        self._running = engine_of(self._version, self._home, RELOADING)
        self._engine = self._wait(self._running.__aenter__())

    def draw(
        self, prompts: Sequence[list[int]], each: int, longest: int, seed: int
    ) -> list[list[Drawn]]:
        """`each` answers to each prompt (token ids), sampled at temperature 1, by its own seed.

        Raises EngineError where the engine failed.
        """
        return self._wait(self._all(prompts, each, longest, seed))

    async def _reload(self, engine: LocalEngine) -> None:
        """Put the weights in the folder in the place of those before, and forget what they read."""
        read = {"method": "reload_weights", "kwargs": {"weights_path": str(self._version.path)}}
        async with engine.post("/collective_rpc", read, None) as response:
            await response.read()
        async with engine.post("/reset_prefix_cache", {}, None) as response:
            if not (await response.json())["success"]:
                raise EngineError("The engine kept what its old weights had read.")

    async def _all(
        self, prompts: Sequence[list[int]], each: int, longest: int, seed: int
    ) -> list[list[Drawn]]:
        asked = [
            {"prompt": ids, "n": each, "max_tokens": longest, "seed": seed + number * each}
            for number, ids in enumerate(prompts)
        ]
        places = asyncio.Semaphore(max(1, places_of(Machine.this()) // each))
        tasks = [asyncio.ensure_future(self._answers(one, places)) for one in asked]
        try:
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    raise EngineError(
                        f"The engine ended no answer in {PATIENCE:g} s; give a smaller --answers or"
                        " --answer-tokens."
                    )
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
        return [task.result() for task in tasks]

    async def _answers(self, asked: dict[str, Any], places: asyncio.Semaphore) -> list[Drawn]:
        engine = self._engine
        if engine is None:
            raise EngineError("There is no engine to draw answers from.")
        body = {"temperature": 1.0, "logprobs": 0, "return_token_ids": True, **asked}
        async with places, engine.post("/v1/completions", body, None) as response:
            made = await response.json()
        if "choices" not in made:
            raise EngineError(f"The engine drew no answers: {str(made)[:300]}")
        choices = sorted(made["choices"], key=lambda choice: choice["index"])
        return [Drawn(c["token_ids"], c["logprobs"]["token_logprobs"]) for c in choices]

    def stop(self) -> None:
        """End the engine, if one runs."""
        running, self._running, self._engine = self._running, None, None
        if running is not None:
            self._wait(running.__aexit__(None, None, None))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
