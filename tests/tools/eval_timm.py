"""`senet eval` beside timm's loader, transforms and accuracy: the same weights, the same folders.

    cargo build --release && venv/bin/python tests/tools/eval_timm.py

Makes 300 PNG pictures of awkward sizes and weights by formula, sorts half of the pictures into
folders by what timm says they show (else nothing would be right) and the rest anywhere, and compares
the counts of top-1 and top-5 and the mean loss. Needs torch and timm; see `make_golden.py`.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageDataset, create_loader, resolve_data_config
from timm.utils import accuracy

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/tools"))
from make_golden import load_formula_weights  # noqa: E402


def wnids() -> list[str]:
    lines = (ROOT / "models/labels/imagenet-1k.tsv").read_text().splitlines()
    return [line.split("\t")[0] for line in lines if not line.startswith("#")]


def draw(number: int) -> Image.Image:
    """Blocks of colour and noise, 40 to 500 pixels a side."""
    noise = np.random.default_rng(number)
    height, width = noise.integers(40, 500, 2)
    blocks = noise.integers(0, 256, (*noise.integers(1, 12, 2), 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    picture += noise.normal(0, noise.integers(1, 40), picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def loader(folder: Path, model: torch.nn.Module, class_map: Path):
    config = resolve_data_config({}, model=model)
    return create_loader(
        ImageDataset(str(folder), class_map=str(class_map)),
        input_size=config["input_size"],
        batch_size=16,
        use_prefetcher=False,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        num_workers=0,
        device=torch.device("cpu"),
    )


def of_timm(folder: Path, model: torch.nn.Module, class_map: Path) -> tuple[dict, torch.Tensor]:
    logits, targets = [], []
    with torch.no_grad():
        for pictures, target in loader(folder, model, class_map):
            logits.append(model(pictures))
            targets.append(target)
    logits, targets = torch.cat(logits), torch.cat(targets)
    top = accuracy(logits, targets, topk=(1, 5))
    count = len(targets) / 100
    loss = torch.nn.functional.cross_entropy(logits.double(), targets).item()
    return {"top1": round(top[0].item() * count), "top5": round(top[1].item() * count), "loss": loss}, logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["legacy_seresnet18.in1k", "seresnet50.ra2_in1k", "skresnet18.ra_in1k"])
    parser.add_argument("--senet", type=Path, default=ROOT / "target/release/senet")
    args = parser.parse_args()
    ids = wnids()
    failed = False
    for name in args.models:
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            model = timm.create_model(name, pretrained=False)
            load_formula_weights(model)
            model.float().eval()
            save_file(model.state_dict(), work / "weights.safetensors")
            (work / "classes.txt").write_text("\n".join(ids))
            first = work / "all" / ids[0]
            first.mkdir(parents=True)
            for number in range(300):
                draw(number).save(first / f"{number:03}.png")
            _, logits = of_timm(work / "all", model, work / "classes.txt")
            anywhere = random.Random(7)
            for number, said in enumerate(logits.argmax(1).tolist()):
                chosen = said if number % 2 else anywhere.randrange(1000)
                folder = work / "set" / ids[chosen]
                folder.mkdir(parents=True, exist_ok=True)
                (first / f"{number:03}.png").rename(folder / f"{number:03}.png")
            expected, _ = of_timm(work / "set", model, work / "classes.txt")
            command = [args.senet, "eval", work / "set", "-m", name, "-w", work / "weights.safetensors", "--json", "-q"]
            report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            found = {f"top{top['k']}": top["correct"] for top in report["top"]} | {"loss": report["loss"]}
            agrees = all(found[key] == expected[key] for key in ("top1", "top5"))
            agrees &= abs(found["loss"] - expected["loss"]) < 1e-4 and report["answered"] == 300
            failed |= not agrees
            print(name, "agrees" if agrees else "DIFFERS", "timm", expected, "senet", found, flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
