"""`senet eval` compared with timm's own `validate.py`: the same weights, the same folders, the same options.

    apt-get install git dataset-fashion-mnist
    pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 safetensors numpy pillow
    cargo build --release
    python tests/tools/train_legacy_seresnet18.py --out target/legacy_seresnet18    # a few minutes
    python tests/tools/eval_timm.py

`validate.py` is not in timm's package, so it is taken from timm's repository (--timm: an address or
a clone) and run unchanged, with the installed timm. The top-1 and top-5 counts must be
equal, and the mean loss may differ by 1e-4, on

* the 10,000 test images of Fashion-MNIST as grey PNG files, with a network that was trained on them,
  opened on both sides from the folder that timm wrote;
* 300 made-up images of 40 to 500 pixels a side, few of them square, with the same network, and with
  networks at their full size whose weights come from a formula, opened by their names. Half of these
  images are in the folder of the class that the network predicts, or none would be right.
"""

import argparse
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/tools"))
from fashion_pictures import DATA, write_images  # noqa: E402
from make_golden import load_formula_weights  # noqa: E402

REPOSITORY = "https://github.com/huggingface/pytorch-image-models"
REVISION = "aa4b5850c1543fa488abf260f18390eda46cf85d"
OPTIONS = [[], ["--crop-pct", "0.875"], ["--img-size", "40"], ["--interpolation", "bilinear"]]


def fetch_validate(repository, folder):
    """timm's script as a module."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", repository, folder / "timm"], check=True)
    script = subprocess.run(
        ["git", "-C", folder / "timm", "show", f"{REVISION}:validate.py"], check=True, capture_output=True
    )
    path = folder / "validate.py"
    path.write_bytes(script.stdout)
    spec = importlib.util.spec_from_file_location("validate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_timm(validate, folder, options):
    """Counts and loss. The script rounds what it prints, so its sums are read from its meters."""
    meters = []

    class Meter(timm.utils.AverageMeter):
        def __init__(self):
            super().__init__()
            meters.append(self)

    validate.AverageMeter = Meter
    fixed = ["--device", "cpu", "--workers", "2", "--batch-size", "100"]
    validate.validate(validate.parser.parse_args([str(folder), *fixed, *map(str, options)]))
    _time, loss, top1, top5 = meters
    counts = (round(meter.sum / 100) for meter in (top1, top5))
    return *counts, loss.avg, top1.count


def of_senet(senet, folder, options):
    command = [senet, "eval", folder, "--json", "--quiet", *options]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return *(top["correct"] for top in report["top"]), report["loss"], report["answered"]


def draw(number):
    """Blocks of colour and noise, 40 to 500 pixels a side."""
    noise = np.random.default_rng(number)
    height, width = noise.integers(40, 500, 2)
    blocks = noise.integers(0, 256, (*noise.integers(1, 12, 2), 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    image += noise.normal(0, noise.integers(1, 40), image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def made_up(folder, classes, senet, options):
    """300 images, half of them in the folder of the predicted class."""
    first = folder / "all" / classes[0]
    first.mkdir(parents=True)
    for number in range(300):
        draw(number).save(first / f"{number:03}.png")
    results = folder / "results.jsonl"
    of_senet(senet, folder / "all", [*options, "--results", results])
    anywhere = random.Random(7)
    for line in results.read_text().splitlines()[1:]:
        record = json.loads(line)
        chosen = record["prediction"] if record["index"] % 2 else anywhere.randrange(len(classes))
        target = folder / "set" / classes[chosen] / Path(record["image"]).name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / "all" / record["image"]).rename(target)
    return folder / "set"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trained", type=Path, default=ROOT / "target/legacy_seresnet18")
    parser.add_argument("--models", nargs="*", default=["legacy_seresnet18.in1k", "seresnet50.ra2_in1k", "skresnet18.ra_in1k"])
    parser.add_argument("--senet", type=Path, default=ROOT / "target/release/senet")
    parser.add_argument("--data", default=DATA, help="folder of Fashion-MNIST")
    parser.add_argument("--timm", default=REPOSITORY, help="repository that has validate.py")
    args = parser.parse_args()
    for path in (args.senet, args.trained):
        if not path.exists():
            sys.exit(f"{path} does not exist; the text at the head of this script says how to make it")
    senet, trained = args.senet.resolve(), args.trained.resolve()
    lines = (ROOT / "models/labels/imagenet-1k.tsv").read_text().splitlines()
    ids = [line.split("\t")[0] for line in lines if not line.startswith("#")]
    failures = 0

    def compare(validate, name, folder, for_timm, for_senet):
        nonlocal failures
        expected, found = of_timm(validate, folder, for_timm), of_senet(senet, folder, for_senet)
        agrees = expected[:2] == found[:2] and expected[3] == found[3] and abs(expected[2] - found[2]) < 1e-4
        failures += not agrees
        print(
            f"{name:56} {expected[3]:>8} {expected[0]:>6} {found[0]:>6} {expected[1]:>6} {found[1]:>6} "
            f"{expected[2]:>9.5f} {found[2] - expected[2]:>9.1e}  {'yes' if agrees else 'NO'}",
            flush=True,
        )

    print(f"{'network, options':56} {'images':>8} {'top-1':>6} {'senet':>6} {'top-5':>6} {'senet':>6} "
          f"{'loss':>9} {'senet':>9}  ok", flush=True)
    with tempfile.TemporaryDirectory(prefix="senet-timm-") as work:
        work = Path(work)
        validate = fetch_validate(args.timm, work)
        sets = {
            "Fashion-MNIST": write_images(work / "fashion", args.data),
            "made up": made_up(work / "trained", [str(number) for number in range(10)], senet, ["-m", trained]),
        }
        for title, folder in sets.items():
            for options in OPTIONS:
                name = " ".join([args.trained.name, title, *options])
                compare(validate, name, folder, ["--model", f"local-dir:{trained}", *options], ["-m", trained, *options])
        (work / "classes.txt").write_text("\n".join(ids))
        for name in args.models:
            model = timm.create_model(name, pretrained=False)
            load_formula_weights(model)
            weights = work / f"{name}.safetensors"
            save_file(model.float().state_dict(), weights)
            for_timm = ["--model", name, "--checkpoint", weights, "--class-map", work / "classes.txt"]
            for_senet = ["-m", name, "-w", weights]
            folder = made_up(work / name, ids, senet, for_senet)
            compare(validate, name, folder, [*for_timm, "--use-train-size"], for_senet)
            if "test_input_size" in model.pretrained_cfg:
                # timm's default.
                compare(validate, f"{name} --test-size", folder, for_timm, [*for_senet, "--test-size"])
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
