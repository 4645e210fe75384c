"""Write the 10,000 test images of Fashion-MNIST as PNG files in class folders, 0 to 9.

    apt-get install dataset-fashion-mnist
    python tests/tools/fashion_pictures.py target/fashion-mnist

Needs only Python. `senet eval target/fashion-mnist -m demo` evaluates on them.
"""

import argparse
import gzip
import struct
import zlib
from pathlib import Path

DATA = "/usr/share/datasets/fashion-mnist"
SIDE = 28


def png(pixels):
    """A grey image."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + pixels[i : i + SIDE] for i in range(0, SIDE * SIDE, SIDE))
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_images(folder, data=DATA):
    pixels = gzip.decompress(Path(data, "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress(Path(data, "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    for label in range(10):
        Path(folder, str(label)).mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(labels):
        first = number * SIDE * SIDE
        Path(folder, str(label), f"{number:05}.png").write_bytes(png(pixels[first : first + SIDE * SIDE]))
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default=DATA)
    args = parser.parse_args()
    write_images(args.folder, args.data)
