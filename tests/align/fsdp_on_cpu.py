"""`python -m align` with FSDP on a CPU, which accelerate does not offer but torch can do.

Run by accelerate's launcher with ACCELERATE_USE_FSDP; says at its end how much was shared.
"""

import sys
from typing import Any

import torch.distributed.fsdp
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

begin, share = AcceleratorState.__init__, torch.distributed.fsdp.fully_shard
shared: list[Any] = []


def with_fsdp(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **named: Any) -> None:
    """What accelerate does where there are GPUs."""
    begin(self, *args, fsdp_plugin=fsdp_plugin, **named)
    if fsdp_plugin is not None:
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


def noted(module: Any, **named: Any) -> Any:
    """Share a module's weights among the processes."""
    shared.append(module)
    return share(module, **named)


if __name__ == "__main__":
    AcceleratorState.__init__ = with_fsdp
    torch.distributed.fsdp.fully_shard = noted
    from align import ranks
    from align.__main__ import run

    leave = ranks.leave

    def noted_and_left(code: int) -> int:
        print(f"shared {len(shared)} modules")
        return leave(code)

    ranks.leave = noted_and_left
    sys.exit(run())
