"""Checks every checkpoint's network at its full input size: `senet verify` against timm.

    cargo build --release
    python tests/tools/verify_all.py                     # all cards
    python tests/tools/verify_all.py seresnet50.ra2_in1k --batch 1 --program path/to/senet

To be quick, the tests compare small images. This script takes each card of models/ at
its stated size (with --test-size at the larger one, if it has one), makes weights by the
formula of make_golden.py (same requirements), lets timm or pytorchcv_nets.py compute the golden file
in single and double precision, runs the program on both and prints a table. It needs no download; the files of one
checkpoint, up to 0.6 GB, are deleted before the next.

Checkpoints of one architecture with the same input size and number of classes are one network, so they are checked
once.

Columns: largest difference of the program's logits from timm's in double precision, the same of
timm's own single precision, the tolerance, images with the same first five classes, and whether
every tensor that was compared (stages, gates, features, logits) is within its tolerance. The exit
code is 1 if one is not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import torch
from make_golden import ROOT, build, formula_images, load_formula_weights, write_verify_golden
from safetensors.torch import save_file

# A file without a tag after a dot is a topology without weights.
CARDS = {card.stem: card for card in (ROOT / "models").glob("*/*.*.toml")}
CLASSES = {"imagenet-1k": 1000, "imagenet-12k": 11821, "imagenet-21k": 21843, "imagenet-21k-miil": 11221,
           "fashion-mnist": 10, "cifar-10": 10, "cifar-100": 100, "cub-200": 200, "svhn": 10,
           "imagenet-1k-devkit": 1000}


def check(name, program, batch, test_size):
    """The table's row for one checkpoint; None instead of numbers if the program failed."""
    card = tomllib.loads(CARDS[name].read_text())
    height, width = test_size and card["input"].get("test_size") or card["input"]["size"]
    row = {"name": name, "size": f"{height}x{width}", "ok": False}
    with tempfile.TemporaryDirectory(prefix="senet-verify-") as folder:
        weights, golden = Path(folder, "model.safetensors"), Path(folder, "golden.safetensors")
        model = build(name.split(".")[0], CLASSES[card["labels"]["set"]])
        load_formula_weights(model)
        save_file(model.state_dict(), weights)
        write_verify_golden(model, formula_images(batch, height, width), golden, {"model": name})
        report = json.loads(golden.with_suffix(".json").read_text())
        row |= {"timm": report["f32_vs_f64_max_abs"], "tolerance": report["suggested_atol_f32"]}
        del model
        command = [program, "verify", name, "--weights", weights, "--golden", golden, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
        logits = next(r for r in report["rows"] if r["tensor"] == "logits_f64")
    except (json.JSONDecodeError, KeyError, StopIteration):
        return row | {"problem": done.stderr.strip() or f"exit code {done.returncode}: {done.stdout[:200]}"}
    failed = [r["tensor"] for r in report["rows"] if not r["ok"]]
    top5 = f"{logits['top_k']['top5']}/{logits['top_k']['images']}" if logits.get("top_k") else "-"
    row |= {"difference": logits["max_abs"], "tolerance": logits["tolerance"], "top5": top5,
            "ok": report["ok"] and done.returncode == 0}
    if failed:
        row["problem"] = f"{len(failed)} of {len(report['rows'])} tensors differ, the first is {failed[0]}"
    return row


def again(name, checked, args):
    """The row of `check`, or that of an earlier checkpoint with the same network."""
    card = tomllib.loads(CARDS[name].read_text())
    key = (name.split(".")[0], str(card["input"]["size"]), str(card["input"].get("test_size")), card["labels"]["set"])
    if key not in checked:
        checked[key] = check(name, args.program.resolve(), args.batch, args.test_size)
    return checked[key]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="cards, default: all")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/senet")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--test-size", action="store_true", help="the larger size, where a card has one")
    args = parser.parse_args()
    if not args.program.is_file():
        sys.exit(f"{args.program} does not exist: cargo build --release, or --program")
    names = args.names or sorted(CARDS)

    def number(value):
        return "-" if value is None else f"{value:.1e}"

    failures, checked = 0, {}
    print(f"{'checkpoint':46} {'size':>8} {'senet':>8} {'timm f32':>8} {'allowed':>8} {'top 5':>6}  ok")
    for name in names:
        row = again(name, checked, args)
        failures += not row["ok"]
        print(f"{name:46} {row['size']:>8} {number(row.get('difference')):>8} {number(row['timm']):>8} "
              f"{number(row['tolerance']):>8} {row.get('top5', '-'):>6}  {'yes' if row['ok'] else 'NO'}", flush=True)
        if "problem" in row:
            print("    " + row["problem"].replace("\n", "\n    "), flush=True)
    print(f"{len(names) - failures} of {len(names)} agree (torch {torch.__version__})")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
