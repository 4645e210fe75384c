"""Writes the small weights files of `tests/data/weights` and what they hold, `expected.json`.

    python tests/tools/make_weights_files.py

Needs torch and safetensors. All values are multiples of 1/8 below 4, exact in every float type.
"""

import argparse
import collections
import datetime
import enum
import functools
import json
import math
import os
import pathlib
import shutil
import tempfile
import types

import numpy
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
    def value(v):
        return v if not isinstance(v, float) or math.isfinite(v) else str(v)

    def values(t):
        t = t.double() if t.dtype.is_floating_point else t
        return [value(v) for v in t.reshape(-1).tolist()]

    return {
        name: {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape), "values": values(t)}
        for name, t in ((name, t.detach()) for name, t in tensors.items())
    }


class Options(dict):
    pass


class Points(list):
    pass


class Slots:
    __slots__ = ("near", "far")


class Colour(enum.Enum):
    RED = 1


class Named(torch.Tensor):
    pass


class Made:
    """An object that is made by a call of any function."""

    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")


def surroundings():
    """What people store next to a state dict."""
    slots, points, options, ring = Slots(), Points([1, 2]), Options(lr=0.1), [1]
    slots.near, slots.far, points.colour, options.self, shared = 1, [2], "red", options, {"a": [1]}
    ring.append(ring)
    counts = collections.defaultdict(list, a=[1])
    return {
        "args": argparse.Namespace(lr=0.1, opt="sgd", betas=(0.9, 0.999), tags=["é", "\u20ac \\ \n", "\U0001f40d"]),
        "hyper_parameters": types.SimpleNamespace(path=pathlib.PosixPath("/data"), pure=pathlib.PurePosixPath("a/b")),
        "when": [datetime.datetime(2024, 2, 29, 1, 2, 3), datetime.timedelta(seconds=7), datetime.date(2024, 1, 1)],
        "numpy": [numpy.float64(0.5), numpy.arange(6).reshape(2, 3), numpy.array(["a", None])],
        "plain": [None, True, False, 1.5, math.nan, b"bytes", bytearray(b"array"), 3 + 4j, "text", (), (1,), (1, 2, 3, 4)],
        "ints": [0, -1, 255, 256, 65536, -(2**31), 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**100, -(2**2100)],
        "sets": [set(), {1, 2}, frozenset({"a"}), collections.Counter("abca"), collections.OrderedDict(b=1), counts],
        "torch": [torch.Size((1, 2)), torch.device("cpu"), torch.float16, torch.strided],
        "tensors": [
            nn.Parameter(values((2,))),
            nn.Buffer(values((2,))),
            torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8),
            torch.eye(3).to_sparse(),
            torch.eye(3).to_sparse_csr(),
            torch.ones(2, device="meta"),
            torch.complex(torch.ones(2), torch.ones(2)),
            values((2,)).as_subclass(Named),
        ],
        "newer": [torch.arange(3).to(torch.uint16), torch.ones(2).to(torch.float8_e5m2)],
        "own": [slots, points, options, Colour.RED, Options, functools.partial(print, "a"), Made(len, "abc")],
        "shared": [shared, shared, ring],
        "module": nn.Linear(1, 1),
    }


def kinds():
    """Tensors of the kinds that a state dict may hold; the second dict, those that are not read."""
    every_byte = torch.arange(256).to(torch.uint8)
    tensors = {f"dtype.{name}": every_byte.view(getattr(torch, name)) for name in FLOAT8}
    tensors["dtype.uint16"] = torch.tensor([0, 1, 40000, 65535]).to(torch.uint16)
    tensors["dtype.uint32"] = torch.tensor([0, 1, 2**31, 2**32 - 1]).to(torch.uint32)
    tensors["strided.float8"] = every_byte[:12].view(torch.float8_e5m2).reshape(3, 4)[:, 1:].t()
    tensors["buffer"] = nn.Buffer(values((3,), seed=30))
    tensors["subclass"] = values((3,), seed=31).as_subclass(Named)
    tensors["subclass.noted"] = values((3,), seed=32).as_subclass(Named)
    tensors["subclass.noted"].note = "an attribute"
    tensors["expanded"] = values((1, 2), seed=33).expand(3, 2)
    unread = {
        "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "sparse.csr": torch.eye(3).to_sparse_csr(),
        "meta": torch.ones(2, device="meta"),
        "negated": torch._neg_view(torch.ones(2)),
        "array": numpy.ones(2),
        "number": numpy.float64(1),
        "options": argparse.Namespace(),
    }
    return tensors, unread


def hostile(state, folder):
    """A checkpoint with objects that make files when they are loaded."""
    mark = lambda name: str(pathlib.Path(folder) / f"marker_{name}")
    return {
        "state_dict": state,
        "a": Made(os.system, f"touch {mark('system')}"),
        "b": Made(exec, f"open({mark('exec')!r}, 'w').close()"),
        "c": Made(eval, f"open({mark('eval')!r}, 'w')"),
        "d": [Made(open, mark("open"), "w")],
        Made(os.mkdir, mark("mkdir")): None,
        "e": argparse.Namespace(f=Made(os.mkdir, mark("inside"))),
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

    # Where training scripts store the state dict, and what they store next to it.
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

    # Objects next to a state dict do not matter, whatever they are and however they are pickled. Protocol 1
    # cannot hold an object with slots; PyTorch cannot load its newer types from the legacy container.
    every = {"state_dict": state, **surroundings()}
    for protocol in (1, 2, 4, 5):
        for kind, options in (("zip", {}), ("legacy", legacy)):
            left_out = {*(("own",) if protocol == 1 else ()), *(("newer",) if options else ())}
            around = {key: value for key, value in every.items() if key not in left_out}
            file = f"around_{kind}_protocol{protocol}.pth"
            save("around", state, file, around, pickle_protocol=protocol, **options)
            loaded = torch.load(DATA / file, weights_only=False)["state_dict"]
            assert described(loaded) == described(state), file
    # PyTorch itself cannot read this one back.
    torch.save(state, DATA / "protocol0.pth", pickle_protocol=0)

    tensors, unread = kinds()
    save("kinds", tensors, "kinds.pth", tensors | unread)

    # The paths in the files are relative; this checks that they work.
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for protocol in (1, 2, 4):
            for kind, options in (("zip", {}), ("legacy", legacy)):
                file = f"hostile_{kind}_protocol{protocol}.pth"
                save("hostile", state, file, hostile(state, ""), pickle_protocol=protocol, **options)
                torch.load(DATA / file, weights_only=False)
                made = sorted(os.listdir(folder))
                assert made == sorted(f"marker_{n}" for n in ("system", "exec", "eval", "open", "mkdir", "inside")), made
                for name in made:
                    os.rmdir(name) if os.path.isdir(name) else os.remove(name)

    text = json.dumps(expected, indent=None, separators=(",", ":"), sort_keys=True)
    (DATA / "expected.json").write_text(text + "\n")
    print(sum(f.stat().st_size for f in DATA.iterdir()), "bytes, torch", torch.__version__)


if __name__ == "__main__":
    main()
