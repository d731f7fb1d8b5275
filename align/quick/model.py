"""All that makes a trainer's model quick."""

from typing import Any

from peft import PeftModel

from align.quick import layers
from align.quick.head import compact_lm_head, log_what_is_computed

SEEN = "is_quick"


def quicken(trainer: Any) -> None:
    """Give a trainer's model our head and layers where they fit it; more than once does no harm.

    Layers whose weights are shared among processes (FSDP) stay as they are.
    """
    model = (
        trainer.model.get_base_model() if isinstance(trainer.model, PeftModel) else trainer.model
    )
    if getattr(model, SEEN, False):
        return
    setattr(model, SEEN, True)
    if model.get_output_embeddings() is not None and compact_lm_head(model):
        log_what_is_computed(trainer)
    if not trainer.is_fsdp_enabled:
        layers.quicken(model.base_model)
