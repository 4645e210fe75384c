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
import tomllib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchvision.models import get_model, regnet

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "torchvision_"
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


def fill(model, generator):
    """Lively weights. The norms' variances reach down to where the epsilon matters."""
    for name, x in model.state_dict().items():
        if name.endswith("running_var"):
            x.uniform_(0.01, 0.05, generator=generator)
        elif x.dim() > 1:
            x.normal_(0, (2 / x[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("weight"):
            x.uniform_(0.1, 0.25, generator=generator)
        elif x.is_floating_point():
            x.uniform_(-0.2, 0.2, generator=generator)
    return model.eval()


@torch.no_grad()
def compare(program, *only):
    worst = 0.0
    for name, file in FILES.items():
        if only and name not in only:
            continue
        size = tomllib.loads(file.read_text())["input"]["size"]
        generator = torch.Generator().manual_seed(len(name))
        model = fill(get_model(name.removeprefix(PREFIX), weights=None), generator)
        images = torch.randn(1, 3, *size, generator=generator)
        features = {}
        classifier = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
        classifier.register_forward_pre_hook(lambda _m, inputs: features.update(pre_logits=inputs[0]))
        with tempfile.TemporaryDirectory() as folder:
            weights, golden = Path(folder, "model.pth"), Path(folder, "golden.safetensors")
            torch.save(model.state_dict(), weights)
            single = model(images)
            double = model.double()(images.double())
            error = ((single - double).abs().max() / double.abs().max()).item()
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
