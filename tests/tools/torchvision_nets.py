"""torchvision's own networks against the topologies `torchvision_*` of models/.

    pip install torchvision==0.29.2 timm==1.0.31 safetensors numpy
    python tests/tools/torchvision_nets.py                                  # names, shapes: tests/data/torchvision.json
    python tests/tools/torchvision_nets.py target/release/senet [NAME...]   # logits, of files as torchvision saves them

The first command records for each network its parameters, the number of its tensors and the first digits of the SHA-256
of the sorted lines `name shape`, for tests/library/plan.rs. The second fills torchvision's module with random weights,
saves it with `torch.save` and compares logits and pooled features in double precision with `senet verify`.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchvision.models import get_model, regnet

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "torchvision_"
SIZE = [212, 180]  # maps of even and odd sides: where padding would differ
FILES = {file.stem: file for file in sorted((ROOT / "models").glob(f"*/{PREFIX}*.toml"))}


def meta(name):
    """The module without memory for its weights."""
    from_init_params = regnet.BlockParams.from_init_params

    def on_the_cpu(**kwargs):
        with torch.device("cpu"):
            return from_init_params(**kwargs)

    regnet.BlockParams.from_init_params = on_the_cpu
    try:
        with torch.device("meta"):
            return get_model(name.removeprefix(PREFIX), weights=None)
    finally:
        regnet.BlockParams.from_init_params = from_init_params


def record():
    lines = []
    for name in FILES:
        model = meta(name)
        tensors = {k: list(v.shape) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
        if "mobilenet" in name:  # in the program's plan, as in timm, a 1x1 convolution
            tensors["classifier.0.weight"] += [1, 1]
        rows = sorted(f"{k} {shape}\n" for k, shape in tensors.items())
        digest = hashlib.sha256("".join(rows).encode()).hexdigest()[:16]
        entry = {"params": sum(p.numel() for p in model.parameters()), "tensors": len(rows), "digest": digest}
        lines.append(f" {json.dumps(name)}: {json.dumps(entry)}")
    (ROOT / "tests/data/torchvision.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


@torch.no_grad()
def fill(model, images, generator):
    """Lively weights. The norms' statistics are those of the images, so that the values neither grow nor vanish; small
    weights before them make the variances so small that the epsilon matters."""
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            gain = 1 if module.bias is not None else 0.02  # without a bias a norm follows
            module.weight.normal_(0, (gain / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-0.2, 0.2, generator=generator)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.uniform_(-0.2, 0.2, generator=generator)
            module.momentum = 1.0
            module.train()
    model(images)
    return model.eval()


@torch.no_grad()
def compare(program, *only):
    worst = 0.0
    for name, file in FILES.items():
        if only and name not in only:
            continue
        generator = torch.Generator().manual_seed(len(name))
        images = torch.randn(2, 3, *SIZE, generator=generator)
        model = fill(get_model(name.removeprefix(PREFIX), weights=None), images, generator)
        features = {}
        classifier = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
        classifier.register_forward_pre_hook(lambda _m, inputs: features.update(pre_logits=inputs[0]))
        with tempfile.TemporaryDirectory() as folder:
            weights, golden = Path(folder, "model.pth"), Path(folder, "golden.safetensors")
            torch.save(model.state_dict(), weights)
            single = model(images)
            double = model.double()(images.double())
            error = ((single - double).abs().max() / double.abs().max()).item()
            if error > 1e-4:
                sys.exit(f"{name}: these weights say nothing, torchvision's own f32 is off by {error:.1e}")
            save_file({"input": images, "logits_f64": double, "pre_logits_f64": features["pre_logits"]}, golden)
            largest = double.abs().max().item()
            command = [program, "verify", name, "-w", weights, "--golden", golden, "--json",
                       "--tolerance", str(largest * max(20 * error, 1e-5))]
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            sys.exit(f"{name}: {done.stderr}")
        report = json.loads(done.stdout)
        found = max(row["max_rel"] for row in report["rows"])
        worst = max(worst, 0 if report["ok"] else 1)
        print(f"{name:34} logits up to {largest:.2g}, off by {found:.1e} of the largest value, torchvision's own f32 by "
              f"{error:.1e}: {'agrees' if report['ok'] else 'DIFFERS'}", flush=True)
    sys.exit(int(worst))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compare(str(Path(sys.argv[1]).resolve()), *sys.argv[2:])
    else:
        record()
