"""Whether a model still prefers what people preferred, compared with its base."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from align.loading import load
from align.quick.head import compact_lm_head
from align.rl.people import People
from assistant.version import Version

PAIRS = [
    {"prompt_ids": [5, 6, 7], "chosen_ids": [8, 9], "rejected_ids": [10, 11, 12]},
    {"prompt_ids": [7, 6], "chosen_ids": [13], "rejected_ids": [14, 15]},
]


def test_what_people_preferred_became_likelier_or_not(tiny: Version):
    model = load(tiny.path)
    assert compact_lm_head(model)
    model = get_peft_model(model, LoraConfig(target_modules="all-linear"))
    people = People(PAIRS)
    assert people.right(model) == 0.5  # nothing has moved
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    swapped = [
        p | {"chosen_ids": p["rejected_ids"], "rejected_ids": p["chosen_ids"]} for p in PAIRS
    ]
    assert people.right(model) == pytest.approx(1 - People(swapped).right(model))
    assert people.right(model) in (0.0, 0.5, 1.0)
    assert People(PAIRS[:1]).right(model) in (0.0, 1.0)  # something has
    assert model.training
