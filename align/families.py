"""One adapter that leads from the first model of a family to a version.

Stage after stage adds a matrix of low rank to the same weights; their sum is a matrix whose rank is
at most the sum of theirs. An engine that serves adapters needs the first model's weights only once.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from assistant.disk import hashed
from assistant.version import Adapter, Version

FOLDER = "family"
CONFIG, MATRICES = "adapter_config.json", "adapter_model.safetensors"
MOST_RANK = 512  # of what vLLM serves


def descend(base: Version, stages: Sequence[Path], made: Path) -> Adapter | None:
    """Write the sum of all adapters from the family's first model on into `made`/family.

    `stages` are the folders of those that were trained now, in order. Returns what the card says of
    it; None where there is no such sum: all weights of a stage were trained, the ranks add up to
    more than engines serve, or the version only judges.
    """
    first = base.adapter
    parts = [base.path / first.folder] if first else []
    parts += stages
    if not all((part / CONFIG).is_file() for part in parts):
        return None
    matrices, targets = added(parts)
    rank = max(m.shape[0] for name, m in matrices.items() if "lora_A" in name)
    if rank > MOST_RANK:
        return None
    folder = made / FOLDER
    folder.mkdir(parents=True)
    save_file(matrices, folder / MATRICES, metadata={"format": "pt"})
    config = json.loads((parts[-1] / CONFIG).read_text(encoding="utf-8"))
    config |= {"r": rank, "lora_alpha": rank, "target_modules": sorted(targets)}
    config["base_model_name_or_path"] = first.of if first else base.name
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    return Adapter(
        of=first.of if first else base.name,
        of_hash=first.of_hash if first else base.content_hash,
        rank=rank,
        folder=f"{made.name}/{FOLDER}",
        files=hashed(folder, CONFIG, MATRICES),
    )


def added(
    parts: Sequence[Path], share: float = 1.0, precision: torch.dtype = torch.bfloat16
) -> tuple[dict[str, torch.Tensor], set[str]]:
    """The matrices of a share of the sum, of scale 1, and the kinds of layers they change.

    [B₁ B₂] [A₁; A₂] = B₁A₁ + B₂A₂, each B times its own scale.
    """
    columns: dict[str, list[torch.Tensor]] = {}
    targets: set[str] = set()
    for part in parts:
        config = json.loads((part / CONFIG).read_text(encoding="utf-8"))
        scale = share * config["lora_alpha"] / config["r"]
        for name, matrix in load_file(part / MATRICES).items():
            once = matrix.float() * scale if "lora_B" in name else matrix.float()
            columns.setdefault(name, []).append(once)
            targets.add(name.split(".lora_")[0].rsplit(".", 1)[-1])
    joined = {
        name: torch.cat(found, dim=0 if "lora_A" in name else 1).to(precision).contiguous()
        for name, found in columns.items()
    }
    return joined, targets
