"""Writes the sharded weights of `tests/data/shards` and what they hold, `expected.json`.

    python tests/tools/make_shards.py

Needs torch, safetensors and huggingface_hub, which splits the state dict and writes the index. All
values are multiples of 1/8 below 4.
"""

import json
import shutil
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from make_weights_files import described, values

DATA = Path(__file__).parent.parent / "data" / "shards"


def main():
    shutil.rmtree(DATA, ignore_errors=True)
    tensors = {
        "conv1.weight": values((4, 3, 3, 3), seed=1),
        "bn1.weight": values((4,), seed=2),
        "bn1.running_var": values((4,), torch.float16, seed=3),
        "bn1.num_batches_tracked": torch.tensor(7),
        "fc.weight": values((10, 4), seed=4),
        "fc.bias": values((10,), torch.bfloat16, seed=5),
    }
    for folder, prefix, safe in (("safetensors", "", True), ("bin", "", False), ("wrapped", "module.", True)):
        path = DATA / folder
        path.mkdir(parents=True)
        prefixed = {prefix + name: tensor for name, tensor in tensors.items()}
        save_torch_state_dict(prefixed, path, max_shard_size=200, safe_serialization=safe)
        assert len(list(path.iterdir())) >= 3, sorted(path.iterdir())
    for file in DATA.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    (DATA / "expected.json").write_text(json.dumps(described(tensors)) + "\n")


if __name__ == "__main__":
    main()
