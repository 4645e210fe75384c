"""Compares the features of `senet embed` with timm's, on networks of random weights:

    embed_timm.py SENET

SENET is the program. The classifier's input is compared with `forward_head(..., pre_logits=True)`, its output
with the model's, and the maps with those of `features_only=True`. Batches and threads must not change a bit. Needs
timm, safetensors, Pillow and NumPy.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors import safe_open
from timm.data import create_transform

SENET = Path(sys.argv[1]).resolve()
ARCHITECTURES = ["legacy_seresnet18", "seresnext26d_32x4d", "skresnet18"]
SIZE = 96
IMAGES = 11


def embed(folder, out, *arguments):
    command = [SENET, "embed", "images", "-m", "./model", "--img-size", str(SIZE), "-q", "-o", out, *arguments]
    subprocess.run(command, cwd=folder, check=True)


def features(folder, layer):
    embed(folder, f"{layer}.safetensors", "--layer", layer)
    with safe_open(folder / f"{layer}.safetensors", "np") as file:
        return file.get_tensor("features")


def compare(name, found, expected):
    expected = expected.numpy()
    assert found.shape == expected.shape, (name, found.shape, expected.shape)
    largest = np.abs(expected).max()
    difference = np.abs(found - expected).max() / largest
    print(f"  {name}: {list(found.shape)}, differs by {difference:.1e} of {largest:.3g}")
    assert difference < 1e-5, name


@torch.inference_mode()
def check(architecture, folder):
    print(architecture)
    torch.manual_seed(1)
    model = timm.create_model(architecture, num_classes=7).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
    timm.models.save_for_hf(model, folder / "model", safe_serialization=True)
    levels = timm.create_model(architecture, num_classes=7, features_only=True).eval()
    missing = levels.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert not missing, missing

    config = timm.data.resolve_model_data_config(model)
    config["input_size"] = (3, SIZE, SIZE)
    transform = create_transform(**config)
    paths = sorted((folder / "images").iterdir())
    batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])

    last = model.forward_features(batch)
    compare("pooled", features(folder, "pooled"), model.forward_head(last, pre_logits=True))
    compare("logits", features(folder, "logits"), model(batch))
    for level, expected in enumerate(levels(batch)):
        compare(f"stage{level + 1}", features(folder, f"stage{level + 1}"), expected)

    expected = (folder / "pooled.safetensors").read_bytes()
    for number in [1, 3]:
        for option in ["--batch-size", "--threads"]:
            embed(folder, "other.safetensors", "--force", option, str(number))
            assert (folder / "other.safetensors").read_bytes() == expected, (option, number)
    print("  the same bytes with other batches and threads")


for architecture in ARCHITECTURES:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "images").mkdir()
        random = np.random.default_rng(2)
        for index in range(IMAGES):
            height, width = random.integers(100, 200, 2)
            coarse = random.integers(0, 256, (6, 6, 3), np.uint8)
            image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
            image.save(folder / "images" / f"{index:02}.png")
        check(architecture, folder)
