"""Names and shapes of all tensors of every architecture, for tests/library/plan.rs.

    python tests/tools/make_topologies.py

writes tests/data/topologies.json: by architecture, timm's number of parameters, the number of tensors
and the first digits of the SHA-256 of the sorted lines `name shape`. Batch counters are excluded.
"""

import hashlib
import json
from pathlib import Path

import hosts
import timm
import torch

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/data/topologies.json"


def entry(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    tensors = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    lines = sorted(f"{k} {list(v.shape)}\n" for k, v in tensors.items())
    return {
        "params": sum(p.numel() for p in model.parameters()),
        "tensors": len(lines),
        "digest": hashlib.sha256("".join(lines).encode()).hexdigest()[:16],
    }


def main():
    files = (ROOT / "models").glob("*/*.toml")
    elsewhere = ("torchvision_", "mmpretrain_")
    files = (file for file in files if not file.name.startswith(elsewhere))
    files = (file for file in files if ".osmr_" not in file.name)  # pytorchcv's
    names = sorted({file.name.split(".")[0] for file in files} - {"seresnet20"} - set(hosts.HOSTS))
    lines = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(entry(name))}" for name in names)
    OUT.write_text(f'{{"timm": "{timm.__version__}", "architectures": {{\n  {lines}\n}}}}\n')


if __name__ == "__main__":
    main()
