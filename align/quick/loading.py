"""The kernels, once torch is there."""

import functools
import logging

import torch

from align.quick.building import KERNELS
from assistant.kernels import CannotBuild

OURS = torch.ops.assistant_align


@functools.cache
def load() -> bool:
    """Make the kernels known to torch; whether they are."""
    try:
        KERNELS.load(torch.ops.load_library)
    except (OSError, RuntimeError, CannotBuild) as error:
        logging.getLogger(__name__).warning("Training is slower than it could be: %s", error)
        return False
    return True
