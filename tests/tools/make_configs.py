"""How timm reads the values of a config.json, for tests/library/preprocess/configs.rs.

    python tests/tools/make_configs.py

writes tests/data/preprocess/configs.json: for each case the `pretrained_cfg` of a config.json and the
first digits of the SHA-256 of the network's input for one image, at the input size and at the test
size (`use_test_size`). The image comes from the generator in tests/library/preprocess/mod.rs.
"""

import hashlib
import json
from pathlib import Path

import timm
from make_filters import Random
from timm.data import create_transform, resolve_data_config
from timm.models._hub import _parse_model_cfg

OUT = Path(__file__).resolve().parents[1] / "data/preprocess/configs.json"
SEED, WIDTH, HEIGHT = 97, 61, 43
BASE = {"input_size": [3, 32, 32], "interpolation": "bicubic", "crop_pct": 0.875}
CASES = (
    *({"interpolation": name} for name in ("nearest", "box", "bilinear", "hamming", "lanczos", "")),
    *({"interpolation": name, "crop_mode": "border"} for name in ("nearest", "lanczos")),
    {"interpolation": "box", "crop_mode": "squash", "input_size": [3, 24, 40]},
    {"interpolation": "hamming", "input_size": [3, 24, 40]},
    {"mean": [-0.5, 0, 1.5], "std": [-1, 2, 0.001]},
    {"mean": [-0.5, 0, 1.5], "crop_mode": "border"},
    {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
    {"mean": [123.675, 0.1, 0.2], "crop_mode": "border"},
    {"mean": 0.5, "std": 0.25},
    {"mean": [0.5], "std": [0.25]},
    {"mean": [0.5], "crop_mode": "border"},
    {"mean": [], "std": 0},
    {"mean": [1, 0, 1], "std": [1, 1, 1]},
    {"crop_pct": 0},
    {"crop_pct": 1},
    {"crop_pct": 1.5},
    {"crop_pct": 1.5, "crop_mode": "squash"},
    {"crop_pct": 1.5, "crop_mode": "border"},
    {"crop_pct": 0.3},
    {"crop_mode": ""},
    {"test_crop_pct": 0.95},
    {"test_crop_pct": 1.0, "test_input_size": [3, 48, 48]},
    {"test_crop_pct": 0, "test_input_size": [3, 48, 48]},
    {"test_input_size": [3, 48, 48]},
    {"input_size": [32, 40]},
    {"input_size": 40},
    {"input_size": None},
)


def digest(cfg, image, test):
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=cfg, use_test_size=test))
    return hashlib.sha256(transform(image).contiguous().numpy().tobytes()).hexdigest()[:16]


def main():
    image = Random(SEED).image(WIDTH, HEIGHT)
    cases = []
    for case in CASES:
        written = BASE | case
        config = {"architecture": "seresnet50", "num_classes": 1000, "pretrained_cfg": dict(written)}
        cfg, _, _ = _parse_model_cfg(config, {})
        found = {"input": digest(cfg, image, False), "test": digest(cfg, image, True)}
        cases.append({"pretrained_cfg": written, **found})
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    head = {"timm": timm.__version__, "seed": SEED, "width": WIDTH, "height": HEIGHT}
    OUT.write_text(json.dumps(head).removesuffix("}") + f', "cases": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
