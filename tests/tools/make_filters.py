"""Images resized with every filter of Pillow, for tests/library/preprocess/filters.rs.

    python tests/tools/make_filters.py

writes tests/data/preprocess/filters.json: for each case the sizes and, by filter, the first digits of
the SHA-256 of the resized pixels. The images come from the generator in tests/library/preprocess/mod.rs.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

OUT = Path(__file__).resolve().parents[1] / "data/preprocess/filters.json"
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
SEED = 1364


class Random:
    """As in tests/library/preprocess/mod.rs."""

    def __init__(self, state):
        self.state = state

    def below(self, limit):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self.state >> 33) % limit

    def value(self):
        kind = self.below(4)
        return (0, 255)[kind] if kind < 2 else self.below(256)

    def image(self, width, height):
        values = [self.value() for _ in range(width * height * 3)]
        return Image.fromarray(np.array(values, np.uint8).reshape(height, width, 3))


def digest(image):
    return hashlib.sha256(image.tobytes()).hexdigest()[:16]


def main():
    random = Random(SEED)
    cases = []
    for case in range(120):
        most = 300 if case % 12 == 0 else 45
        width, height, new_width, new_height = (1 + random.below(most) for _ in range(4))
        new_width = width if case % 7 == 0 else new_width
        new_height = height if case % 7 == 1 else new_height
        image = random.image(width, height)
        found = {
            name: digest(image.resize((new_width, new_height), getattr(Image.Resampling, name.upper())))
            for name in FILTERS
        }
        cases.append({"old": [width, height], "new": [new_width, new_height], **found})
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    OUT.write_text(f'{{"pillow": "{PIL.__version__}", "seed": {SEED}, "cases": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
