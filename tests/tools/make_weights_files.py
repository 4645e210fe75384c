"""Writes the small weights files of `tests/data/weights` and what they hold, `expected.json`.

    python tests/tools/make_weights_files.py

Needs torch and safetensors. All values are multiples of 1/8 below 4, exact in every float type.
"""

import collections
import json
import pathlib
import shutil
import tempfile

import safetensors.torch
import torch
import torch.nn as nn

DATA = pathlib.Path(__file__).parent.parent / "data" / "weights"


def values(shape, dtype=torch.float32, seed=0):
    n = 1
    for dim in shape:
        n *= dim
    steps = [(i * 7 + seed * 13) % 61 - 30 for i in range(n)]
    if dtype.is_floating_point:
        flat = torch.tensor(steps, dtype=torch.float64) / 8
    elif dtype == torch.bool:
        flat = torch.tensor([step % 2 for step in steps])
    elif dtype == torch.uint8:
        flat = torch.tensor([step + 200 for step in steps])
    else:
        flat = torch.tensor(steps) * (1 if dtype == torch.int8 else 1000)
    return flat.to(dtype).reshape(shape)


def all_tensors():
    """One tensor of every type and layout that is read."""
    dtypes = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    tensors = {f"dtype.{d}": values((2, 3), getattr(torch, d), seed) for seed, d in enumerate(dtypes)}
    tensors["scalar"] = torch.tensor(17)
    tensors["empty"] = torch.zeros(0, 4)
    shared = values((40,), seed=20)
    tensors["shared.whole"] = shared
    tensors["shared.part"] = shared[7:19].view(3, 4)
    tensors["strided.transposed"] = values((5, 4), seed=21).t()
    tensors["strided.sliced"] = values((6, 8), seed=22)[1::2, 1::3]
    tensors["strided.channels_last"] = values((2, 3, 2, 2), seed=23).to(memory_format=torch.channels_last)
    tensors["strided.half"] = values((3, 4), torch.float16, 24).t()
    tensors["parameter"] = nn.Parameter(values((4,), seed=25))
    tensors["parameter.noted"] = nn.Parameter(values((4,), seed=26))
    tensors["parameter.noted"].note = "an attribute changes how a parameter is pickled"
    return tensors


def described(tensors):
    return {
        name: {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape), "values": t.reshape(-1).tolist()}
        for name, t in ((name, t.detach()) for name, t in tensors.items())
    }


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    expected = {}

    def save(content, holds, file, objects, **options):
        torch.save(objects, DATA / file, **options)
        expected.setdefault(content, {"tensors": described(holds), "files": []})["files"].append(file)

    tensors = all_tensors()
    legacy = {"_use_new_zipfile_serialization": False}
    for protocol in (2, 3, 4, 5):
        save("all", tensors, f"zip_protocol{protocol}.pth", tensors, pickle_protocol=protocol)
        save("all", tensors, f"legacy_protocol{protocol}.pth", tensors, pickle_protocol=protocol, **legacy)
    flat = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    safetensors.torch.save_file(flat, DATA / "all.safetensors", metadata={"format": "pt"})
    expected["all"]["files"].append("all.safetensors")

    # A module's own state dict: an OrderedDict with `_metadata`, parameters and buffers.
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 3))
    with torch.no_grad():
        for seed, p in enumerate(module.parameters()):
            p.copy_(values(tuple(p.shape), seed=seed))
    state = module.state_dict()
    save("module", state, "module.bin", state)
    save("module", state, "module_legacy.pth", state, **legacy)

    # Where training scripts keep the state dict, and what they keep beside it.
    adam = torch.optim.Adam(module.parameters())
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    adam.step()
    state = module.state_dict()
    other = [{"0.weight": values((9,), seed=seed)} for seed in range(40, 43)]
    training = {"epoch": 3, "arch": "seresnet", "best": 0.5, "optimizer": adam.state_dict(), "lr": -(2**40)}
    save("module", state, "training.pth", {**training, "state_dict": state})
    save("module", state, "training_legacy.pth", {**training, "model": state}, **legacy)
    wrapped = collections.OrderedDict((f"module.{name}", t) for name, t in state.items())
    save("module", state, "wrapped.pth", {"state_dict": wrapped})
    compiled = collections.OrderedDict((f"_orig_mod.module.{name}", t) for name, t in state.items())
    save("module", state, "compiled.pth", compiled)
    save("module", state, "ema.pth", {"model": other[0], "state_dict": other[1], "model_ema": other[2], "state_dict_ema": state})
    save("module", state, "model_ema.pth", {"model": other[0], "state_dict": other[1], "model_ema": state})
    # PyTorch names the archive's folder after the file: here a directory entry of 76 bytes, as long as
    # what PyTorch writes after the directory, and a name that is not ASCII.
    save("module", state, "model_best_checkpoint.pth", state)
    with tempfile.TemporaryDirectory() as folder:
        named = pathlib.Path(folder) / "größtes_modell_№1_🐍.pth"
        torch.save(state, named)
        shutil.copy(named, DATA / "not_ascii.pth")
    expected["module"]["files"].append("not_ascii.pth")
    save("module", state, "no_ema.pth", {"model": other[0], "state_dict": state, "model_ema": None, "state_dict_ema": None})

    text = json.dumps(expected, indent=None, separators=(",", ":"), sort_keys=True)
    (DATA / "expected.json").write_text(text + "\n")
    print(sum(f.stat().st_size for f in DATA.iterdir()), "bytes, torch", torch.__version__)


if __name__ == "__main__":
    main()
