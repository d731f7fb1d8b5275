"""Several trainings that differ by chance alone → the average of what they learnt.

From few judgements each learns something else beside what was meant: one answers shorter, another
does not end. In the average that cancels, and what they agree on stays (model soups, Wortsman et
al. 2022, arXiv 2203.05482). An engine serves it like any other version.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from align.families import CONFIG, MATRICES, added
from align.merging import merge
from align.training import MADE


def averaged(base: Path, trainings: Sequence[Sequence[Path]], out: Path) -> None:
    """Write the average of some trainings from one base, merged, to `out`.

    Each training is given by the adapters of its stages, in order; the average's own adapter, whose
    rank is the sum of theirs, is kept in `made/adapter`. Raises TrainingFailed if the merged
    weights are not the adapter's.
    """
    parts = [adapter for stages in trainings for adapter in stages]
    matrices, targets = added(parts, share=1 / len(trainings), precision=torch.float32)
    rank = max(m.shape[0] for name, m in matrices.items() if "lora_A" in name)
    adapter = out / MADE / "adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    save_file(matrices, adapter / MATRICES, metadata={"format": "pt"})
    config = json.loads((parts[0] / CONFIG).read_text(encoding="utf-8"))
    config |= {"r": rank, "lora_alpha": rank, "target_modules": sorted(targets)}
    (adapter / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    merge(base, adapter, out)
