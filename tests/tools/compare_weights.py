"""Compares how damaged checkpoints are read here and by timm and torch.

    python tests/tools/compare_weights.py [SAMPLES [SEED]]

Makes SAMPLES (3,000) files from those in `tests/data/weights`, most of them with a change in the
pickle, has the ignored test `describe_files_for_comparison` read them, and reads them with timm's
`load_state_dict`, which calls `torch.load(weights_only=True)`. A file that is read here must have the
same tensors there; a file that is refused, there or here, is counted. Needs torch, timm and numpy.
"""

import collections
import io
import json
import math
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile

import torch
from timm.models._helpers import load_state_dict

ROOT = pathlib.Path(__file__).parents[2]
OPCODES = b"(.)]}NQPRKMJGXUTVSILFBCctaeusbdlo012gpqrhji\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x93\x94\x00\xff\x7f"


def mutate(content, other):
    content = bytearray(content)
    for _ in range(random.choice((0, 1, 1, 1, 1, 2))):
        at = random.randrange(len(content))
        end = min(at + random.randrange(24), len(content))
        kind = random.randrange(12)
        if kind < 7:
            content[at] ^= 1 << random.randrange(8)
        elif kind == 7:
            content[at] = random.choice(OPCODES)
        elif kind == 8:
            content.insert(at, random.choice(OPCODES))
        elif kind == 9 and len(content) > 64:
            del content[at:end]
        elif kind == 10:
            start = random.randrange(len(content))
            content[start:start] = content[at:end]
        else:
            start = random.randrange(len(other))
            content[at:end] = other[start : start + random.randrange(120)]
    return bytes(content)


def changed(path, others):
    content = path.read_bytes()
    if not zipfile.is_zipfile(path):
        # The pickles come first; the data after them is changed as well.
        return mutate(content, random.choice(others))
    archive, out = zipfile.ZipFile(path), io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for member in archive.namelist():
            content = archive.read(member)
            if member.endswith("data.pkl"):
                content = mutate(content, random.choice(others))
            made.writestr(member, content)
    return out.getvalue()


def of_torch(path):
    """The dense tensors by name, or why they cannot be read."""
    try:
        state = load_state_dict(str(path))
        return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # Damaged files may raise any exception.
        return f"{type(error).__name__}: {error}"[:100]


def is_equal(found, tensor):
    if found["shape"] != list(tensor.shape):
        return False
    if found["floats"] is not None:
        values = [struct.unpack("<d", struct.pack("<Q", int(bits)))[0] for bits in found["floats"]]
        wanted = tensor.detach().double().reshape(-1).tolist()
        return all(a == b or math.isnan(a) and math.isnan(b) for a, b in zip(values, wanted, strict=True))
    if found["integers"] is not None:
        return [int(value) for value in found["integers"]] == [int(v) for v in tensor.reshape(-1).tolist()]
    return True


def main():
    samples, seed = (int(v) for v in (sys.argv[1:] + ["3000", "1"][len(sys.argv) - 1 :]))
    random.seed(seed)
    warnings.simplefilter("ignore")
    files = [p for p in sorted((ROOT / "tests/data/weights").iterdir()) if p.suffix in (".pth", ".bin")]
    others = [p.read_bytes() for p in files]
    # A few with objects that torch refuses are enough.
    files = [p for p in files if not p.name.startswith(("around", "hostile"))] * 4 + files
    with tempfile.TemporaryDirectory() as top:
        folder = pathlib.Path(top) / "files"
        folder.mkdir()
        for i in range(samples):
            (folder / f"{i:05}.pth").write_bytes(changed(files[i % len(files)], others))
        command = os.environ.get("COMPARE_COMMAND", "cargo test --locked --test library --").split()
        command += ["--ignored", "--exact", "weights::broken::describe_files_for_comparison"]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"COMPARE_FOLDER": str(folder)})
        counts, wrong = collections.Counter(), []
        os.chdir(top)
        for line in open(f"{top}/files.jsonl"):
            found = json.loads(line)
            theirs = of_torch(folder / found["file"])
            refused = isinstance(theirs, str)
            if "error" in found:
                counts["refused by both" if refused else "refused here, read by torch"] += 1
                if not refused:
                    print(found["error"])
            elif refused:
                counts["read here, refused by torch"] += 1
            else:
                counts["read by both"] += 1
                ours = found["tensors"]
                if not all(name in theirs and is_equal(tensor, theirs[name]) for name, tensor in ours.items()):
                    wrong.append(found["file"])
                # Tensors that only torch has must be of a kind that is not read here.
                for name in theirs.keys() - ours.keys():
                    tensor = theirs[name]
                    if tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta or tensor.is_neg()):
                        wrong.append(f"{found['file']} without {name}")
        for name in wrong[:20]:
            print("differs:", name)
            shutil.copy(folder / name.split()[0], tempfile.gettempdir())
        print(dict(counts), len(wrong), "differ")
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
