"""Golden numbers for tests/library/networks.rs: what timm computes with weights made by a formula.

    pip install torch==2.15.0 timm==1.0.31 safetensors numpy
    pip install --no-deps pretrainedmodels==0.7.4        # second oracle of the legacy family
    python tests/tools/make_golden.py                    # all architectures, 8 minutes of processor time
    python tests/tools/make_golden.py seresnet50 skresnet18

For every architecture in models/ (those that timm lacks are in hosts.py and pytorchcv_nets.py), the CIFAR-style
networks of train_fashion_mnist.py and two without SE modules, one JSON file in tests/data/golden; for some, another one with a
different number of input channels. The files hold no weights or images: both come from the formula below, which
tests/library/networks/formula.rs computes to the same bits, and digests
prove it. Each file has two runs of different batch and size; the sizes are odd and not square where the
architecture allows it. Per tensor:

    shape     NCHW, or [N, C] for vectors; a gate is [N, C] (SE) or [N, 2, C] (SK)
    stats     mean, population standard deviation, largest magnitude, Euclidean norm
    probes    elements (i * numel) // count of the flattened tensor, i < count
    error     largest |f32 - f64| of timm itself over the whole tensor, the base of the tolerance

Each run has `bf16_error`, too: the largest |bf16 - f64| of a logit where PyTorch computes in bf16 (autocast),
over the largest logit.

All values are from a run in double precision (10 significant digits). `cadene.logits` are those of
the package pretrainedmodels with the same weights. Two more files, seresnet20.golden.safetensors and
seresnet20.golden.json, hold one run in the layout that `senet verify --golden` reads.
"""

import argparse
import importlib.util
import json
import math
import platform
import sys
from pathlib import Path

import numpy as np
import safetensors
import hosts
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from pytorchcv_nets import PytorchcvNet
from train_fashion_mnist import SeResNetCifar

ROOT = Path(__file__).resolve().parents[2]
CIFAR = {"seresnet20": (3, 3, 3), "seresnet32": (5, 5, 5)}
# Without SE modules, so without a card.
PLAIN = ("resnet50", "resnext50_32x4d")
CADENE = {
    "legacy_senet154": "senet154",
    "legacy_seresnet50": "se_resnet50",
    "legacy_seresnet101": "se_resnet101",
    "legacy_seresnet152": "se_resnet152",
    "legacy_seresnext50_32x4d": "se_resnext50_32x4d",
    "legacy_seresnext101_32x4d": "se_resnext101_32x4d",
}
# Batch, height, width. The second size shrinks to maps of one or two pixels. The anti-aliased models
# take only sizes of 31, 0, 1 or 2 modulo 32: with others, their branches differ in size.
SIZES = ((2, 75, 64), (1, 47, 33))
SIZES_AA = ((2, 65, 63), (1, 34, 95))
SIZES_CIFAR = ((2, 28, 28), (1, 33, 30))
SIZES_PYTORCHCV = ((2, 33, 30), (1, 28, 27))
# Of networks with more modules, those of the last block of each stage are recorded.
MOST_GATES = 60
# Input channels other than 3.
CHANNELS = {"legacy_seresnet18": (1,), "seresnext26t_32x4d": (1, 4), "skresnet18": (4,)}
PROBES = {"vector": 64, "map": 16, "gate": 4}


# ---------------------------------------------------------------- the formula (see formula.rs)
def name_hash(name):
    """64-bit FNV-1a."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def uniform(name, count):
    """f64 multiples of 2^-23 in [-1, 1): the top 24 bits of splitmix64, seeded with the name."""
    z = np.uint64(name_hash(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.int64) - (1 << 23)).astype(np.float64) / (1 << 23)


def closes_branch(name, names):
    """Whether this is the scale of the last BatchNorm before a residual sum."""
    module = name.removesuffix(".weight")
    if module.endswith(".expand_bn3"):
        return True
    block, _, norm = module.partition(".bn") if module.startswith("blocks.") else (module, "", "")
    if norm:  # MobileNetV3 and EfficientNet: the first block of a stage has no sum, nor do separable ones
        fused = f"{block}.conv_exp.weight" in names
        return not block.endswith(".0") and (norm == "3" or (norm == "2" and fused))
    if not module.startswith(("layer1.", "layer2.", "layer3.", "layer4.", "stages.", "features.stage",
                              "s1.", "s2.", "s3.", "s4.")):
        return False
    if module.endswith((".bn3", ".conv3.bn", ".conv3_1x1.bn", ".conv2.bn")):
        # In RegNetZ a block without a projection that begins a stage has no sum.
        block = ".".join(module.split(".")[:3 if module.startswith("stages.") else 2])
        first = block.endswith((".0", ".b1")) and module.startswith(("stages.", "s"))
        projected = any(f"{block}.{side}.conv.weight" in names for side in ("shortcut", "downsample"))
        return projected or not first
    return module.endswith(".bn2") and module.removesuffix("bn2") + "bn3.weight" not in names


def centre_and_spread(name, shape, names):
    """The values are uniform in centre ± spread.

    He's rule keeps the activations' size through the convolutions; a weak last BatchNorm keeps the
    residual sums from growing; the gates' gains leave most of them between 0.2 and 0.8. What is too weak
    makes the logits those of any image, and what is too strong lets them grow beyond what f32 compares well.
    """
    if len(shape) >= 2:
        gains = {"fc1": 1.5, "fc2": 2.0, "fc_reduce": 1.0, "fc_select": 0.5}
        block, _, leaf = name.removesuffix(".weight").rpartition(".")
        if name.startswith("blocks."):
            # The gate halves the signal; linear ends and other activations than ReLU take some of it, too.
            gated = f"{block}.se.conv_reduce.weight" in names
            separable = f"{block}.conv_pwl.weight" not in names
            gains |= {"conv_pwl": 4.0 if gated else 2.0,
                      "conv_pw": (4.0 if gated else 3.0) if separable else 2.0, "conv_dw": 3.0 if separable else 2.0}
        gain = gains.get(name.split(".")[-2], 2.0)
        return 0.0, math.sqrt(3.0 * gain / math.prod(shape[1:]))
    if name.endswith(".running_var"):
        return 1.25, 0.75
    if name.endswith(".weight"):
        if not closes_branch(name, names):
            return 1.0, 0.5
        return (0.12, 0.04) if name.startswith("blocks.") else (0.3, 0.1)
    return 0.0, 0.3  # biases and running means


def formula_tensor(name, shape, names):
    centre, spread = centre_and_spread(name, shape, names)
    return (centre + spread * uniform(name, math.prod(shape))).astype(np.float32).reshape(shape)


def formula_images(n, h, w, c=3):
    """Images of about ImageNet's range after normalisation: each has its own contrast, colour,
    slopes and 8x8 patches, so that gates differ between images, and noise on top."""
    contrast = 1.0 + 0.5 * uniform("input.contrast", n).reshape(n, 1, 1, 1)
    colour = uniform("input.colour", n * c).reshape(n, c, 1, 1)
    slope = uniform("input.slope", n * c * 2).reshape(n, c, 2, 1, 1)
    ty = ((2 * np.arange(h) + 1 - h) / h).reshape(h, 1)
    tx = ((2 * np.arange(w) + 1 - w) / w).reshape(1, w)
    rows, columns = np.arange(h) // 8 % 64, np.arange(w) // 8 % 64
    patch = uniform("input.patch", n * c * 64 * 64).reshape(n, c, 64, 64)[:, :, rows][:, :, :, columns]
    noise = uniform("input.noise", n * c * h * w).reshape(n, c, h, w)
    texture = 0.6 * (slope[:, :, 0] * ty + slope[:, :, 1] * tx) + 0.6 * patch + 0.6 * noise
    return torch.from_numpy((contrast * (colour + texture)).astype(np.float32))


def digest(tensors):
    """A checksum over names and bits, to distinguish wrong weights from a wrong network."""
    total = 0
    for name, t in tensors.items():
        bits = t.numpy().reshape(-1).view(np.uint32).astype(np.uint64)
        odd = np.arange(len(bits), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        total += name_hash(name) ^ int((bits * odd).sum(dtype=np.uint64))
    return f"{total & 0xFFFFFFFFFFFFFFFF:016x}"


def load_formula_weights(model):
    """Fills the model strictly and returns the tensors by name."""
    state = model.state_dict()
    names = set(state)
    weights = {k: torch.from_numpy(formula_tensor(k, tuple(v.shape), names))
               for k, v in state.items() if not k.endswith("num_batches_tracked")}
    counters = {k: v for k, v in state.items() if k.endswith("num_batches_tracked")}
    model.load_state_dict(weights | counters, strict=True)
    model.eval()
    return weights


# ---------------------------------------------------------------- the networks
def pytorchcv():
    """The architectures whose cards name a file of pytorchcv's."""
    return {card.name.split(".")[0] for card in (ROOT / "models").glob("**/*.osmr_*.toml")}


def architectures():
    found = {card.name.split(".")[0] for card in (ROOT / "models").glob("**/*.toml")}
    # Compared by torchvision_nets.py, and timm's network under other names.
    found = {name for name in found if not name.startswith(("torchvision_", "mmpretrain_"))}
    return sorted(found | set(CIFAR) | set(PLAIN))


def build(arch, classes=None, channels=3):
    if arch in CIFAR:
        return SeResNetCifar(CIFAR[arch], classes or 10)
    if arch in hosts.HOSTS:
        return hosts.HOSTS[arch]()
    if arch in pytorchcv():
        return PytorchcvNet(arch.removeprefix("pytorchcv_"), classes)
    return timm.create_model(arch, in_chans=channels, **({"num_classes": classes} if classes else {}))


def build_cadene(name):
    """Cadene's class from its single file; the package's own import pulls in unrelated code."""
    package = importlib.util.find_spec("pretrainedmodels")
    if package is None:
        sys.exit("the legacy family needs pretrainedmodels: pip install --no-deps pretrainedmodels==0.7.4")
    path = Path(package.submodule_search_locations[0], "models", "senet.py")
    spec = importlib.util.spec_from_file_location("cadene_senet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = getattr(module, name)(num_classes=1000, pretrained=None)
    model.avg_pool = torch.nn.AdaptiveAvgPool2d(1)  # its own 7x7 window only fits 224 pixels
    return model


def points(model):
    """label -> (module whose output is recorded, function applied to it)."""
    if hasattr(model, "points"):
        return model.points()
    modules = dict(model.named_modules())
    same = torch.Tensor.clone
    found = {}
    if "layer0" in modules:
        found |= {"stem": ("layer0", same), "stem_pool": ("pool0", same)}
    elif "stem" in modules:
        found["stem"] = ("stem.conv3" if "stem.conv3" in modules else "stem", same)
        if "stem.pool" in modules:
            found["stem_pool"] = ("stem.pool", same)
    elif isinstance(model, SeResNetCifar):
        found["stem"] = ("bn1", F.relu)
    elif isinstance(model, PytorchcvNet):
        norm = [name for name in modules if name.startswith("features.init_block") and name.endswith("bn")][-1]
        found["stem"] = (norm, F.relu)
        if model.pool is not None:
            found["stem_pool"] = ("pool", same)
        if "features.post_activ.bn" in modules:
            found["final_conv"] = ("features.post_activ.bn", F.relu)
    elif "conv_stem" in modules:
        found["stem"] = ("bn1", same)
    elif isinstance(modules.get("maxpool.0"), torch.nn.Conv2d):  # ResNet-RS: a convolution, norm and activation instead of the pool
        found["stem"] = ("maxpool", same)
    else:
        found |= {"stem": ("act1", same), "stem_pool": ("maxpool", same)}
    for i in range(7):
        for name in (f"layer{i + 1}", f"stages.{i}", f"s{i + 1}", f"blocks.{i}"):
            if name in modules:
                found[f"stage{i + 1}"] = (name, same)
        if isinstance(model, PytorchcvNet) and f"features.stage{i + 1}" in modules:
            last = list(modules[f"features.stage{i + 1}"].children())[-1]
            found[f"stage{i + 1}"] = (next(name for name in modules if modules[name] is last), same)
    if "final_conv.conv" in modules:
        found["final_conv"] = ("final_conv", same)
    elif isinstance(modules.get("final_conv"), torch.nn.SiLU):  # RegNetV, regnetz_040
        found["final_conv"] = ("final_conv", same)
    elif "conv_head" in modules and "bn2" in modules:
        found["final_conv"] = ("bn2", same)
    for name in modules:
        if name.endswith(".fc2"):
            found["gate." + name.removesuffix(".fc2")] = (name, lambda x: x.sigmoid().flatten(1))
        elif name.endswith(".se.conv2"):
            found["gate." + name.removesuffix(".conv2")] = (name, lambda x: x.sigmoid().flatten(1))
        elif name.endswith(".conv_expand"):
            module = name.removesuffix(".conv_expand")
            found["gate." + module] = (name, lambda x, gate=modules[module].gate: gate(x).flatten(1))
        elif name.endswith(".fc_select"):  # the module itself returns the softmax [N, 2, C, 1, 1]
            found["gate." + name.removesuffix(".fc_select")] = (name.removesuffix(".fc_select"),
                                                                lambda x: x.flatten(2).clone())
    gates = [label for label in found if label.startswith("gate.")]
    if len(gates) > MOST_GATES:
        stage = [label.rsplit(".", 2)[0] for label in gates]
        for label, here, after in zip(gates, stage, stage[1:]):
            if here == after:
                del found[label]
    return found


@torch.no_grad()
def observe(model, images):
    """Every recorded tensor of one forward pass, by label, in the order of `points`."""
    modules = dict(model.named_modules())
    seen, hooks = {}, []
    for label, (name, convert) in points(model).items():
        hooks.append(modules[name].register_forward_hook(
            lambda _m, _i, out, label=label, convert=convert: seen.__setitem__(label, convert(out))))
    classifier = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    hooks.append(classifier.register_forward_pre_hook(
        lambda _m, inputs: seen.__setitem__("pre_logits", inputs[0].clone())))
    seen["logits"] = model(images)
    for hook in hooks:
        hook.remove()
    return seen


def both_precisions(model, images):
    single = observe(model.float(), images)
    double = observe(model.double(), images.double())
    model.float()
    return single, double


def bf16_error(model, images, logits):
    """The error of the logits in PyTorch's bf16, over the largest of the exact ones."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model.float()(images.contiguous(memory_format=torch.channels_last))
    error = (found.double() - logits).abs().max() / logits.abs().max()
    return float(f"{error.item():.3g}")


def stats(x):
    x = x.double()
    return [x.mean().item(), x.std(unbiased=False).item(), x.abs().max().item(), x.pow(2).sum().sqrt().item()]


def probe_index(x, count):
    count = min(count, x.numel())
    return torch.tensor([i * x.numel() // count for i in range(count)])


# ---------------------------------------------------------------- the files
def entry(label, single, double):
    kind = "gate" if label.startswith("gate.") else "vector" if double.dim() == 2 else "map"
    probes = double.flatten()[probe_index(double, PROBES[kind])]
    return {
        "shape": list(double.shape),
        "stats": [float(f"{v:.10g}") for v in stats(double)],
        "probes": [float(f"{v:.10g}") for v in probes.tolist()],
        "error": float(f"{(single.double() - double).abs().max().item():.2g}"),
    }


def dump(record, path):
    """JSON with one line per tensor, so that a change can be read in a diff."""
    lines = json.dumps({k: v for k, v in record.items() if k != "runs"}, indent=1).removesuffix("\n}")
    runs = []
    for run in record["runs"]:
        head = json.dumps({k: v for k, v in run.items() if k != "tensors"}).removesuffix("}")
        body = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}"
                          for k, v in run["tensors"].items())
        runs.append(f"{head}, \"tensors\": {{\n{body}\n }}}}")
    path.write_text(lines + ",\n \"runs\": [\n " + ",\n ".join(runs) + "\n ]\n}\n")


def versions():
    return {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__}


def make(arch, out, channels=3):
    model = build(arch, channels=channels)
    weights = load_formula_weights(model)
    cadene = None
    if arch in CADENE and channels == 3:
        cadene = build_cadene(CADENE[arch])
        load_formula_weights(cadene)
        cadene.double()
    sizes = SIZES_CIFAR if arch in CIFAR else SIZES_AA if "aa" in arch else hosts.SIZES.get(arch, SIZES)
    if isinstance(model, PytorchcvNet) and model.pool is None:
        sizes = SIZES_PYTORCHCV
    runs = []
    for n, h, w in sizes:
        images = formula_images(n, h, w, channels)
        single, double = both_precisions(model, images)
        tensors = {label: entry(label, single[label], double[label]) for label in double}
        if cadene is not None:
            with torch.no_grad():
                logits = cadene(images.double())
            tensors["cadene.logits"] = entry("cadene.logits", single["logits"], logits)
        runs.append({"input": [n, channels, h, w], "input_digest": digest({"input": images}),
                     "bf16_error": bf16_error(model, images, double["logits"]), "tensors": tensors})
        worst = max((t["error"] / t["stats"][2], label) for label, t in tensors.items())
        logits, gates = double["logits"], [double[k] for k in double if k.startswith("gate.")]
        spread = f", gates' mean deviation over channels {np.mean([g.std(-1).mean() for g in gates]):.2f}" if gates else ""
        print(f"{arch} {n}x{h}x{w}: logits up to {logits.abs().max():.3g}, timm's f32 off by at most "
              f"{worst[0]:.1e} of the largest value ({worst[1]}){spread}", flush=True)
        assert all(torch.isfinite(t).all() for t in double.values())
        if n > 1:  # weights under which the image matters up to the end
            assert (logits[0] - logits[1]).abs().max() > 0.005 * logits.abs().max()
        if any(name.startswith("blocks.") for name in weights):
            # Their maps grow with the depth, and a gate multiplies what is large before its sigmoid.
            assert all(t["error"] < (1e-2 if label.startswith("gate.") else 1e-3) * t["stats"][2]
                       for label, t in tensors.items())
            assert 0.3 < logits.abs().max() < 1000
        else:
            assert worst[0] < 1e-5 and 0.3 < logits.abs().max() < 100
    dump({
        "architecture": arch,
        "oracle": "train_fashion_mnist.py" if arch in CIFAR else "hosts.py" if arch in hosts.HOSTS
                  else "pytorchcv_nets.py" if arch in pytorchcv() else "timm",
        "command": f"python tests/tools/make_golden.py {arch}",
        "versions": versions(),
        "classes": double["logits"].shape[1],
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights_digest": digest(weights),
        "runs": runs,
    }, out / (f"{arch}.json" if channels == 3 else f"{arch}.{channels}ch.json"))


def write_verify_golden(model, images, path, settings):
    """A golden file as `senet verify --golden` reads it, and its .json next to it.

    `path` is the .safetensors file; the tolerance of the logits is twenty times the error of
    PyTorch's own single precision, and at least 1e-4. Gates and stages have that error stored with them,
    because a gate's does not follow from its size: what goes into the sigmoid can be many times as large.
    """
    single, double = both_precisions(model, images)
    tensors = {"input": images}
    for label, x in single.items():
        if label in ("logits", "pre_logits"):
            tensors[label] = x
            tensors[label + "_f64"] = double[label]
            continue
        name = label if label.startswith("gate.") else f"stage.{label}"
        tensors[f"error.{name}"] = (x.double() - double[label]).abs().max().reshape(1)
        if label.startswith("gate."):
            tensors[label] = x
        else:
            index = probe_index(x, 64)
            tensors[f"stage.{label}.shape"] = torch.tensor(x.shape)
            tensors[f"stage.{label}.stats"] = torch.tensor(stats(x), dtype=torch.float64)
            tensors[f"stage.{label}.probe_index"] = index
            tensors[f"stage.{label}.probe"] = x.flatten()[index]
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    error = (single["logits"].double() - double["logits"]).abs().max().item()
    report = settings | {"f32_vs_f64_max_abs": error, "suggested_atol_f32": float(f"{max(20 * error, 1e-4):.1e}"),
                         "versions": versions() | {"safetensors": safetensors.__version__}}
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("architectures", nargs="*", help="default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "tests/data/golden")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for arch in args.architectures or architectures():
        make(arch, args.out)
        for channels in CHANNELS.get(arch, ()):
            make(arch, args.out, channels)
        if arch == "seresnet20":
            model = build(arch)
            load_formula_weights(model)
            write_verify_golden(model, formula_images(2, 28, 28), args.out / f"{arch}.golden.safetensors",
                                {"model": arch, "command": f"python tests/tools/make_golden.py {arch}"})


if __name__ == "__main__":
    main()
