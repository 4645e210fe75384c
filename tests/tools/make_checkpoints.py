"""What timm says about every checkpoint that has a card, for tests/library/zoo/checkpoints.rs.

    pip install torch==2.15.0 timm==1.0.31
    python tests/tools/make_checkpoints.py results-imagenet.csv

writes tests/data/checkpoints.tsv. The argument is the file results/results-imagenet.csv of timm's repository, at
commit aa4b585. Settings and licences are those of timm's configurations; `params` and `classes` are counted on
networks without memory. `results` has top-1, top-5, size and crop for each size that the network is meant for.
"""

import argparse
import csv
from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/data/checkpoints.tsv"
COLUMNS = ("name", "repo", "license", "params", "classes", "size", "crop_pct", "crop_mode", "interpolation", "mean",
           "std", "test_size", "test_crop_pct", "results")


def count(arch, classes):
    with torch.device("meta"):
        model = timm.create_model(arch, num_classes=classes)
    return sum(p.numel() for p in model.parameters())


def row(name, results):
    arch = name.split(".")[0]
    cfg = get_pretrained_cfg(name)
    sizes = [cfg.input_size, *([cfg.test_input_size] if cfg.test_input_size else [])]
    assert all(height == width for _, height, width in sizes)
    sizes = [height for _, height, _ in sizes]
    found = [r for r in results if r["model"] == name and int(r["img_size"]) in sizes]
    found.sort(key=lambda r: int(r["img_size"]))
    published = (f"{float(r['top1']):.3f}/{float(r['top5']):.3f}@{r['img_size']}/{float(r['crop_pct'])}" for r in found)
    repo = cfg.hf_hub_id or ""
    return (name, repo + name if repo.endswith("/") else repo, cfg.license or "", count(arch, cfg.num_classes),
            cfg.num_classes, sizes[0], cfg.crop_pct, cfg.crop_mode, cfg.interpolation,
            *(",".join(str(float(x)) for x in values) for values in (cfg.mean, cfg.std)),
            sizes[1] if len(sizes) > 1 else "", cfg.test_crop_pct or "", " ".join(published))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path, help="timm's results-imagenet.csv")
    with parser.parse_args().results.open() as file:
        results = list(csv.DictReader(file))
    known = set(timm.list_pretrained())
    names = sorted(file.stem for file in (ROOT / "models").glob("*/*.*.toml") if file.stem in known)
    lines = ["\t".join(COLUMNS), *("\t".join(map(str, row(name, results))) for name in names)]
    OUT.write_text(f"# timm {timm.__version__}\n" + "".join(f"{line}\n" for line in lines))
    print(f"{len(names)} checkpoints")


if __name__ == "__main__":
    main()
