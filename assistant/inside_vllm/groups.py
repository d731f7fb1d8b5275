"""An engine of one process makes no groups of processes.

vLLM 0.32 makes half a dozen, each twice, whatever their size; each is a thread of Gloo's that wakes
a hundred times a second to do nothing, on the cores that tokens are computed on.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SEAMS = ("__init__", "destroy")


def install() -> None:
    """Let every group of one process be that of all processes."""
    from vllm.distributed import parallel_state  # noqa: PLC0415 - not in ours
    from vllm.platforms import current_platform  # noqa: PLC0415

    group: Any = getattr(parallel_state, "GroupCoordinator", None)
    if not current_platform.is_cpu() or getattr(group, "alone_is_no_group", False):
        return
    if not all(hasattr(group, seam) for seam in SEAMS):
        logging.getLogger(__name__).warning("vLLM groups processes in another way: left as it is")
        return
    group.__init__, group.destroy = making(group.__init__), destroying(group.destroy)
    group.alone_is_no_group = True


def making(make: Callable[..., None]) -> Callable[..., None]:
    """A group that, where there is one process, has no parts of its own."""

    def make_alone(self: Any, *args: Any, **named: Any) -> None:
        with none_new():
            make(self, *args, **named)

    return make_alone


def destroying(destroy: Callable[[Any], None]) -> Callable[[Any], None]:
    """What a group shares with the world goes with the world."""

    def destroy_own(self: Any) -> None:
        from torch import distributed  # noqa: PLC0415

        for name in ("device_group", "cpu_group"):
            if getattr(self, name, None) is distributed.group.WORLD:
                delattr(self, name)
        destroy(self)

    return destroy_own


@contextmanager
def none_new() -> Iterator[None]:
    """Meanwhile a new group of the only process is the one there is."""
    from torch import distributed  # noqa: PLC0415

    if distributed.get_world_size() > 1:
        yield
        return
    new_group = distributed.new_group
    distributed.new_group = lambda *_args, **_named: distributed.group.WORLD
    try:
        yield
    finally:
        distributed.new_group = new_group
