"""How timm prepares images for a network with one input channel, for tests/library/preprocess/grey.rs.

    pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 pillow==13.0.0
    python tests/tools/make_grey.py

writes tests/data/preprocess/grey.json: for the settings of expected.json the single mean and standard
deviation that timm uses, and for each lossless image the first digits of the SHA-256 of the tensor.
As in timm's validate.py, the image is opened in mode `L` where the input has one channel.
"""

import hashlib
import json
import warnings
from pathlib import Path

import timm
from PIL import Image
from timm.data import create_transform
from timm.data.model_config import resolve_input_data_config

DATA = Path(__file__).resolve().parents[1] / "data"
SPECS = ("bilinear-28-1", "bicubic-32-875", "bicubic-48x80-9", "squash-64-9", "border-65x50-9")


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def main():
    warnings.simplefilter("ignore")
    expected = json.loads((DATA / "preprocess/expected.json").read_text())
    model = timm.create_model("skresnet18", in_chans=1)
    specs, transforms = {}, {}
    for name in SPECS:
        spec = expected["specs"][name]
        config = resolve_input_data_config(model, pretrained_cfg=spec | {"input_size": (3, *spec["size"])})
        assert config["input_size"] == (1, *spec["size"])
        transforms[name] = create_transform(**config)
        specs[name] = {"mean": config["mean"][0], "std": config["std"][0]}
    images = {}
    for name, entry in expected["pictures"].items():
        if entry["lossy"]:
            continue
        image = Image.open(DATA / "pictures" / name)
        grey = image.convert("L")
        if image.convert("RGB").convert("L").tobytes() != grey.tobytes():
            print(f"{name} ({image.mode}): the way over RGB gives other values")
        images[name] = {spec: digest(transform(grey).numpy().tobytes()) for spec, transform in transforms.items()}
    lines = [f"  {json.dumps(name)}: {json.dumps(digests)}" for name, digests in images.items()]
    (DATA / "preprocess/grey.json").write_text(
        f'{{"specs": {json.dumps(specs)}, "pictures": {{\n' + ",\n".join(lines) + "\n}}\n"
    )
    print(len(images), "images")


if __name__ == "__main__":
    main()
