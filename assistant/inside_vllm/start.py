"""Two things vLLM imports again at every start of an engine, and how ours do without.

Importing vLLM takes some six seconds of one core. On a CPU it does so three times: in the server;
in a process that looks at the model's class and ends, once per cache; and in the process of the
engine's core, which it spawns. The last two are there for GPUs, whose state no fork survives.
"""

import logging
import multiprocessing
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


def install() -> None:
    """Mend both where vLLM runs on a CPU; called once, before it serves."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - not in ours

    if current_platform.is_cpu():
        look_here()
        fork_the_core()


def look_here() -> None:
    """Look at the model's class in this process."""
    from vllm.model_executor.models import registry  # noqa: PLC0415

    if not hasattr(registry, "_run_in_subprocess"):
        logger.warning("vLLM looks at models in another way: the first start is slower")
        return

    def here(look: Callable[[], Any]) -> Any:
        return look()

    registry._run_in_subprocess = here


def fork_the_core() -> None:
    """Fork the process of the engine's core from this one, which has imported all of it.

    A forked libgomp hangs where threads of it ran before; in the server none do. What vLLM puts
    into the environment of a spawned core, `assistant.machine` puts into this process's.
    """
    from vllm.v1.engine import core, utils  # noqa: F401, PLC0415

    if not hasattr(utils, "get_mp_context"):
        logger.warning("vLLM starts its core in another way: every start is slower")
        return
    utils.get_mp_context = lambda: multiprocessing.get_context("fork")
