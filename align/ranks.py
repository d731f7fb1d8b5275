"""Several processes for one training, as `accelerate launch -m align …` starts them.

The first does all there is to do. The others only train: they wait to hear what it trains, and
take their share of every batch.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assistant.errors import Invalid


def follower() -> bool:
    """Whether this process only trains along."""
    return int(os.environ.get("RANK", "0")) > 0


def number() -> int:
    """How many processes share the work."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share_of(batch: int) -> int:
    """A process's rows of a batch. Raises Invalid where they cannot be equally many."""
    if batch % number():
        raise Invalid(f"--batch {batch} cannot be shared equally by {number()} processes.")
    return batch // number()


def lead(stage: str, *arguments: Any) -> None:
    """Tell the others to run a stage with these arguments but the last, the folder for its outcome.

    To be followed by running it here: all meet in every step.
    """
    if number() > 1 and not follower():
        agreed((stage, arguments[:-1]))


def release() -> None:
    """Tell the others that nothing more will come."""
    if number() > 1 and not follower():
        agreed(None)


def follow() -> int:
    """Train along until the first process says that nothing more will come."""
    while (work := agreed(None)) is not None:
        stage, arguments = work
        with tempfile.TemporaryDirectory() as folder:  # what is made here is made there, too
            importlib.import_module(f"align.{stage}").run(*arguments, Path(folder) / "model")
    return 0


def leave(code: int) -> int:
    """End one of several processes at once; returns the code where there is only one.

    gloo's threads may outlive what they work on, and abort a process that ends in good order.
    """
    if number() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def whole(trainer: Any, load: Callable[[], Any]) -> Any:
    """The trained model; where each process holds a part of its weights, whole in the first one.

    `load` gives the base's weights, on which the trained ones are put together.
    """
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return trainer.model
    from peft import PeftModel, get_peft_model  # noqa: PLC0415
    from torch.distributed.tensor import DTensor  # noqa: PLC0415

    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    weights = {n: w.full_tensor() if isinstance(w, DTensor) else w for n, w in weights.items()}
    if follower():
        return None
    model = load()
    if isinstance(trainer.model, PeftModel):
        model = get_peft_model(model, trainer.model.peft_config["default"])
    model.load_state_dict(weights)
    return model


def agreed(said: Any) -> Any:
    """What the first process says; the others' own word does not count."""
    if number() == 1:
        return said
    import torch  # noqa: PLC0415 - slow, and rarely needed here
    from accelerate import PartialState  # noqa: PLC0415
    from accelerate.utils import broadcast_object_list  # noqa: PLC0415

    PartialState(cpu=not torch.cuda.is_available())
    [heard] = broadcast_object_list([said], from_process=0)
    return heard
