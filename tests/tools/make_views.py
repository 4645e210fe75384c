"""The views of an image by torchvision's TenCrop, for `tests/library/eval.rs`.

    venv/bin/pip install torchvision pillow numpy
    venv/bin/python tests/tools/make_views.py

Writes tests/data/eval/views.json: SHA-256 of the 8-bit RGB pixels of each view, sorted.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize, TenCrop
from torchvision.transforms.functional import hflip

DATA = Path(__file__).resolve().parents[1] / "data"
EDGE, SIZE = 144, 101


def digest(image: Image.Image) -> str:
    return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()


def main() -> None:
    image = Image.open(DATA / "pictures/exact-256x224.png").convert("RGB")
    image = Resize(EDGE, InterpolationMode.BILINEAR)(image)
    centre = CenterCrop(SIZE)(image)
    views = {
        "made_with": {name: version(name) for name in ("torchvision", "pillow")},
        "flip": sorted(map(digest, [centre, hflip(centre)])),
        "ten-crop": sorted(map(digest, TenCrop(SIZE)(image))),
    }
    (DATA / "eval/views.json").write_text(json.dumps(views, indent=1) + "\n")


if __name__ == "__main__":
    main()
