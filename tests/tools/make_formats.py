"""Writes tests/data/preprocess/formats.json: small PNM, QOI, ICO, DIB and MPO files, and the pixels
that Pillow decodes with `Image.open(file).convert("RGB")`, or null where it refuses.

    python tests/tools/make_formats.py      (Pillow 13.0)
"""

import base64
import hashlib
import io
import json
import random
import struct
import sys
import warnings
from pathlib import Path

from PIL import Image

warnings.simplefilter("ignore")
random.seed(16)


def noise(mode, width, height):
    bands = Image.getmodebands(mode)
    image = Image.frombytes(
        {1: "L", 3: "RGB", 4: "RGBA"}[bands], (width, height), random.randbytes(width * height * bands)
    )
    return image.convert(mode) if mode != image.mode else image


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def icon(entries):
    """An icon of (width, height, bits in the directory, content)."""
    at = 6 + 16 * len(entries)
    head = struct.pack("<3H", 0, 1, len(entries))
    body = b""
    for width, height, bits, content in entries:
        head += struct.pack("<4B2H2I", width % 256, height % 256, 0, 0, 1, bits, len(content), at + len(body))
        body += content
    return head + body


def bitmap(image, masked=True):
    """A DIB of twice the height, and its mask."""
    dib = saved(image, "DIB")
    if not masked:
        return dib
    width, height = image.size
    mask = bytes((width + 31) // 32 * 4 * height)
    return dib[:8] + struct.pack("<i", 2 * height) + dib[12:] + mask


FILES = {
    "bits-text.pbm": b"P1\n# a comment\n3 2\n101\n0 1 0\n",
    "bits-text-comment.pbm": b"P1 3 2 1 0#x 1\n1 0 1 # 1\n0",
    "bits-text-cut.pbm": b"P1 3 2 1 0 1 0",
    "bits-text-two.pbm": b"P1 3 2 1 0 2 0 0 0",
    "bits.pbm": b"P4 9 3 " + random.randbytes(6),
    "bits-cut.pbm": b"P4 9 3 " + random.randbytes(5),
    "grey-text.pgm": b"P2\n4 2 255\n0 1 254 255\n7 8 # 9 9\r 9 10 11",
    "grey-text-7.pgm": b"P2 8 1 7 " + b" ".join(b"%d" % i for i in range(8)),
    "grey-text-1000.pgm": b"P2 5 1 1000 0 1 2 3 1000",
    "grey-text-65535.pgm": b"P2 5 1 65535 0 100 255 256 65535",
    "grey-text-above.pgm": b"P2 2 1 9 1 10",
    "grey-text-negative.pgm": b"P2 2 1 255 1 -1",
    "grey-text-letters.pgm": b"P2 2 1 255 1 2x",
    "grey-text-plus.pgm": b"P2 2 1 255 1 +20",
    "grey-text-long.pgm": b"P2 2 1 255 1 00000000020",
    "colour-text.ppm": b"P3 2 1 15 0 1 2 13 14 15",
    "colour-text-65535.ppm": b"P3 2 1 65535 0 127 128 129 385 65535",
    "grey.pgm": b"P5 4 3 255\n" + random.randbytes(12),
    "grey-cut.pgm": b"P5 4 3 255\n" + random.randbytes(11),
    "grey-longer.pgm": b"P5 4 3 255\n" + random.randbytes(30),
    "grey-100.pgm": b"P5 256 1 100\n" + bytes(range(256)),
    "grey-2.pgm": b"P5 3 1 2\n\0\1\2",
    "grey-1000.pgm": b"P5 4 1 1000\n" + struct.pack(">4H", 0, 1, 500, 1001),
    "grey-65535.pgm": b"P5 4 1 65535\n" + struct.pack(">4H", 0, 77, 256, 65535),
    "grey-crlf.pgm": b"P5\r\n2 2\r\n255\r\n" + bytes([1, 2, 3, 4, 5]),
    "grey-tabs.pgm": b"P5\t2\x0b2\x0c255\t" + bytes([1, 2, 3, 4]),
    "grey-comments.pgm": b"P5 # kind\n#\n2#x\n 2 255 " + bytes([1, 2, 3, 4]),
    "grey-comment-in-number.pgm": b"P5 1#x\n2 1 255 " + random.randbytes(12),
    "grey-no-blank.pgm": b"P5#x\n2 2 255 " + bytes([1, 2, 3, 4]),
    "maxval-0.pgm": b"P5 2 2 0 " + bytes([1, 2, 3, 4]),
    "maxval-65536.pgm": b"P5 2 2 65536 " + bytes([1, 2, 3, 4, 5, 6, 7, 8]),
    "no-width.pgm": b"P5 0 2 255 " + bytes([1, 2, 3, 4]),
    "colour.ppm": b"P6 3 3 255 " + random.randbytes(27),
    "colour-200.ppm": b"P6 3 3 200 " + random.randbytes(27),
    "colour-65535.ppm": b"P6 3 3 65535 " + random.randbytes(54),
    "colour-300.ppm": b"P6 3 3 300 " + random.randbytes(54),
    "colour-cut.ppm": b"P6 3 3 255 " + random.randbytes(26),
    "little.pfm": b"Pf 3 2 -1.0\n" + struct.pack("<6f", 0.5, 200.7, -5, 300, 254.99, 1.5),
    "big.pfm": b"Pf\n3 2\n2.5\n" + struct.pack(">6f", 1.5, 2.5, 99, float("inf"), float("-inf"), 7),
    "scale-0.pfm": b"Pf 1 1 0\n" + struct.pack(">f", 1.5),
    "rgb.qoi": saved(noise("RGB", 9, 7), "QOI"),
    "rgba.qoi": saved(noise("RGBA", 9, 7), "QOI"),
    "flat.qoi": saved(Image.new("RGB", (200, 100), (1, 2, 3)), "QOI"),
    "gradient.qoi": saved(Image.linear_gradient("L").convert("RGB"), "QOI"),
    "rgb.ico": saved(noise("RGB", 48, 48), "ICO"),
    "rgba.ico": saved(Image.radial_gradient("L").resize((300, 300)).convert("RGBA"), "ICO", sizes=[(16, 16), (256, 256)]),
    "bitmap.ico": saved(noise("RGBA", 32, 32), "ICO", sizes=[(16, 16), (32, 32)], bitmap_format="bmp"),
    "bitmap-24.ico": icon([(16, 16, 24, bitmap(noise("RGB", 16, 16)))]),
    "bitmap-8.ico": icon([(20, 20, 8, bitmap(noise("L", 20, 20)))]),
    "bitmap-palette.ico": icon([(20, 20, 8, bitmap(noise("RGB", 20, 20).quantize(17)))]),
    "bitmap-1.ico": icon([(20, 20, 1, bitmap(noise("1", 20, 20)))]),
    "largest.ico": icon([
        (16, 16, 32, bitmap(noise("RGBA", 16, 16))),
        (24, 24, 24, bitmap(noise("RGB", 24, 24))),
        (24, 24, 8, bitmap(noise("L", 24, 24))),
        (24, 24, 32, bitmap(noise("RGBA", 24, 24))),
    ]),
    "wrong-size.ico": icon([(20, 20, 24, bitmap(noise("RGB", 16, 16)))]),
    "bare.dib": saved(noise("RGB", 7, 5), "DIB"),
    "bare-palette.dib": saved(noise("RGB", 7, 5).quantize(9), "DIB"),
    "file.dib": saved(noise("RGB", 7, 5), "BMP"),
}


def pixels(content):
    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except Exception:
        return None
    return {"size": image.size, "rgb": hashlib.sha256(image.tobytes()).hexdigest()[:16]}


cases = {
    name: {"file": base64.b64encode(content).decode(), "pillow": pixels(content)}
    for name, content in FILES.items()
}
refused = [name for name, case in cases.items() if case["pillow"] is None]
print(len(cases), "files; Pillow refuses", refused, file=sys.stderr)
target = Path(__file__).parent.parent / "data/preprocess/formats.json"
target.write_text(json.dumps(cases, indent=0) + "\n")
