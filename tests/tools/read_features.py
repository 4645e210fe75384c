"""Reads files of features with the libraries that users have, as tests/cli/embed.rs writes them.

    read_features.py FOLDER

FOLDER has a.safetensors, tensors.safetensors (paths as tensors), half.safetensors, a.npy and a.jsonl of the
same images. Prints a line of JSON: the paths and the sum of the features, and of the nearest neighbour of
each row in FAISS.
"""

import json
import sys
from pathlib import Path

import faiss
import numpy as np
from safetensors import safe_open

folder = Path(sys.argv[1])


def read(name):
    with safe_open(folder / name, "np") as file:
        return file.get_tensor("features"), file.metadata()


features, metadata = read("a.safetensors")
paths = json.loads(metadata["paths"])
assert features.dtype == np.float32 and len(paths) == len(features)
assert json.loads(metadata["input"])["size"] == [28, 28]

# As PyTorch's tensors, whose places have to be aligned.
with safe_open(folder / "tensors.safetensors", "pt") as file:
    offsets = file.get_tensor("path_offsets").tolist()
    named = bytes(file.get_tensor("path_bytes").tolist())
    assert [named[a:b].decode() for a, b in zip(offsets, offsets[1:])] == paths
    assert "paths" not in file.metadata()
    assert np.array_equal(file.get_tensor("features").numpy(), features)

half, metadata = read("half.safetensors")
assert half.dtype == np.float16
assert np.array_equal(half, features.astype(np.float16))

array = np.load(folder / "a.npy", mmap_mode="r")
assert np.array_equal(array, features)
assert (folder / "a.npy.paths.txt").read_text().splitlines() == paths

rows = [json.loads(line) for line in (folder / "a.jsonl").open()]
assert [row["path"] for row in rows] == paths
assert np.array_equal(np.array([row["features"] for row in rows], np.float32), features)

index = faiss.IndexFlatIP(features.shape[1])
index.add(features / np.linalg.norm(features, axis=1, keepdims=True))
nearest = index.search(index.reconstruct_n(0, len(features)), 1)[1][:, 0]
print(json.dumps({"paths": paths, "sum": float(features.sum(dtype=np.float64)), "nearest": nearest.tolist()}))
