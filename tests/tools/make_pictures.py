"""Write the images of tests/library/preprocess and how Pillow, torchvision and timm process them.

    apt-get install dataset-fashion-mnist
    pip install timm torchvision pillow numpy
    python tests/tools/make_pictures.py

Writes tests/data/pictures/* and tests/data/preprocess/expected.json, which records the versions
used. For an image of a lossless format the file holds SHA-256 sums: of the RGB pixels, and for each
input specification of the 8-bit pixels after resize and crop and of the 32-bit little-endian
tensor. JPEG decoders may differ slightly, so for JPEG it also writes `NAME.rgb.png`, the decoded
pixels, and `NAME.SPEC.png`, the cropped ones.
"""

import gzip
import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import timm
import torch
import torchvision
from PIL import Image, ImageOps, features
from timm.data.transforms_factory import transforms_imagenet_eval
from torchvision import transforms

DATA = Path(__file__).parent.parent / "data"
IMAGES = DATA / "pictures"
EXPECTED = DATA / "preprocess"

IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
FASHION = dict(mean=[0.2860] * 3, std=[0.3530] * 3)
HALF = dict(mean=[0.5] * 3, std=[0.5] * 3)
UNIT = dict(mean=[0.0] * 3, std=[1.0] * 3)
SPECS = {
    "bicubic-224-875": dict(size=[224, 224], crop_pct=0.875, interpolation="bicubic", **IMAGENET),
    "bilinear-224-875": dict(size=[224, 224], crop_pct=0.875, interpolation="bilinear", **IMAGENET),
    "bicubic-224-95": dict(size=[224, 224], crop_pct=0.95, interpolation="bicubic", **IMAGENET),
    "bicubic-288-1": dict(size=[288, 288], crop_pct=1.0, interpolation="bicubic", **IMAGENET),
    "bilinear-28-1": dict(size=[28, 28], crop_pct=1.0, interpolation="bilinear", **FASHION),
    "bicubic-32-875": dict(size=[32, 32], crop_pct=0.875, interpolation="bicubic", **IMAGENET),
    "bicubic-48x80-9": dict(size=[48, 80], crop_pct=0.9, interpolation="bicubic", **IMAGENET),
    "bilinear-81x33-1": dict(size=[81, 33], crop_pct=1.0, interpolation="bilinear", **IMAGENET),
    # Above 1 the image is resized below the size of the crop, and padded.
    "bicubic-41-over": dict(size=[41, 41], crop_pct=1.3, interpolation="bicubic", **IMAGENET),
    "squash-64-9": dict(size=[64, 64], crop_pct=0.9, interpolation="bicubic", crop_mode="squash", **IMAGENET),
    "squash-40x72-1": dict(size=[40, 72], crop_pct=1.0, interpolation="bilinear", crop_mode="squash", **IMAGENET),
    "border-64-1": dict(size=[64, 64], crop_pct=1.0, interpolation="bicubic", crop_mode="border", **IMAGENET),
    # EfficientNetV2's and MobileNetV3's ways.
    "squash-300-1-half": dict(size=[300, 300], crop_pct=1.0, interpolation="bicubic", crop_mode="squash", **HALF),
    "bicubic-192-882-half": dict(size=[192, 192], crop_pct=0.882, interpolation="bicubic", **HALF),
    "bilinear-224-875-half": dict(size=[224, 224], crop_pct=0.875, interpolation="bilinear", **HALF),
    "bilinear-256-1-unit": dict(size=[256, 256], crop_pct=1.0, interpolation="bilinear", **UNIT),
    "border-65x50-9": dict(size=[65, 50], crop_pct=0.9, interpolation="bilinear", crop_mode="border", **FASHION),
}
SMALL_SPECS = ["bilinear-28-1", "bicubic-32-875"]


def scene(width, height, seed=0):
    """A photo-like image: gradients, discs with hard edges, a fine texture, a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    image = np.stack([40 + 160 * u, 60 + 120 * v, 200 - 130 * u * v], 2)
    for _ in range(7):
        cx, cy, r = rng.random() * width, rng.random() * height, (0.08 + 0.2 * rng.random()) * min(width, height)
        colour = rng.random(3) * 255
        image[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = colour
    image += 14 * np.sin(x / 1.9)[:, :, None] * (v[:, :, None] > 0.6)
    image += rng.normal(0, 3, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def noise(width, height, seed=1):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def stripes(width, height):
    """Red and blue columns, swapped in the lower half: the sharpest edges in colour. The last
    column and row are where decoders differ most."""
    columns = np.arange(width) % 2 + (np.arange(height) >= height // 2)[:, None]
    return Image.fromarray(np.array([[255, 0, 0], [0, 0, 255], [255, 0, 0]], np.uint8)[columns])


def ramp16(width, height):
    """16-bit grey whose small values matter: below, around and above 255."""
    return (np.arange(width * height, dtype=np.uint32) * 37 % 65536).astype(np.uint16).reshape(height, width) // np.where(
        np.arange(width) % 3 == 0, 200, 1).astype(np.uint16)


def png(width, height, depth, colour, rows, *chunks, interlace=0):
    """A PNG of raw rows (each with its filter byte): kinds that Pillow does not write."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in chunks) + chunk(
        b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def png16(array, colour, *chunks):
    height, width = array.shape[:2]
    data = array.astype(">u2").reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in data)
    return png(width, height, 16, colour, rows, *chunks)


def interlaced(array):
    """Adam7, 8-bit RGB."""
    height, width = array.shape[:2]
    rows = b""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = array[y0::dy, x0::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    return png(width, height, 8, 2, rows, interlace=1)


def bmp(width, height, depth, compression, data, masks=b"", palette=b"", header=40):
    masks_in_header = masks if header > 40 else b""
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, depth, compression, len(data), 2835, 2835,
                       len(palette) // 4, 0) + masks_in_header
    info = info.ljust(header, b"\0") + (b"" if masks_in_header else masks) + palette
    offset = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + info + data


def gif(screen, frame, palette, indices, transparent=None, local=None, background=0):
    """One frame at (left, top) on a screen; the compressed data comes from Pillow."""
    left, top, width, height = frame
    plain = Image.fromarray(indices.astype(np.uint8), "P")
    plain.putpalette(bytes(range(256)) * 3)
    stream = io.BytesIO()
    plain.save(stream, "GIF", optimize=False, interlace=0)
    data = stream.getvalue()
    at = data.index(b"\x2c", 13 + 3 * 256) + 10
    if data[at - 1] & 128:
        at += 3 << ((data[at - 1] & 7) + 1)
    compressed = data[at:]
    out = b"GIF89a" + struct.pack("<HH", *screen)
    out += bytes([0x80 | (len(palette) // 3).bit_length() - 2, background, 0]) + palette
    if transparent is not None:
        out += b"\x21\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
    flags = 0x80 | (len(local) // 3).bit_length() - 2 if local else 0
    out += b"\x2c" + struct.pack("<HHHHB", left, top, width, height, flags) + (local or b"")
    return out + compressed


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def ycck(image, quality=90):
    """Pillow writes CMYK unconverted; the same samples declared as YCCK by the Adobe marker are
    another, equally valid image."""
    data = bytearray(saved(image.convert("CMYK"), "JPEG", quality=quality))
    at = data.index(b"Adobe")
    assert data[at + 11] in (0, 2)
    data[at + 11] = 2
    return bytes(data)


def adobe_rgb(image):
    """Three components stored as RGB: Adobe marker with transform 0."""
    return saved(image, "JPEG", quality=90, keep_rgb=True)


def images():
    """Name and file content of each image, in a fixed order."""
    small = scene(61, 43, 2)
    array = np.array(small)
    grey = small.convert("L")
    alpha = Image.fromarray((np.arange(61 * 43) * 7 % 256).astype(np.uint8).reshape(43, 61))
    rgba = small.copy()
    rgba.putalpha(alpha)
    palette = small.quantize(23)
    exact = dict(optimize=True)

    # Shapes.
    yield "one-pixel.png", saved(noise(1, 1), "PNG")
    yield "one-column.png", saved(noise(1, 97), "PNG")
    yield "one-row.png", saved(noise(83, 1), "PNG")
    yield "two-by-three.png", saved(noise(2, 3), "PNG")
    yield "very-tall-noise.png", saved(noise(29, 301), "PNG")
    yield "tall-noise.png", saved(noise(90, 260).quantize(64), "PNG")
    yield "very-wide.png", saved(noise(601, 7), "PNG", **exact)
    yield "very-tall.png", saved(noise(5, 403), "PNG", **exact)
    yield "wide.png", saved(scene(173, 96, 3), "PNG", **exact)
    yield "tall.png", saved(scene(77, 130, 4), "PNG", **exact)
    yield "tall-and-large.png", saved(scene(150, 420, 17).quantize(16), "PNG", **exact)
    yield "exact-224.png", saved(scene(224, 224, 5).quantize(32), "PNG", **exact)
    yield "exact-256x224.png", saved(scene(256, 224, 6).quantize(16), "PNG", **exact)
    yield "odd-313x257.png", saved(scene(313, 257, 7).quantize(24), "PNG", **exact)

    # PNG.
    yield "grey.png", saved(grey, "PNG", **exact)
    yield "grey-alpha.png", saved(Image.merge("LA", [grey, alpha]), "PNG")
    yield "rgba.png", saved(rgba, "PNG")
    yield "bilevel.png", saved(grey.convert("1"), "PNG")
    yield "grey-2bit.png", png(9, 4, 2, 0, b"".join(b"\0" + bytes([0x1B + i, 0xE4 - i, 0x40]) for i in range(4)))
    yield "grey-4bit.png", png(7, 3, 4, 0, b"".join(b"\0" + bytes([0x01 + i, 0x89, 0xEF, 0x70]) for i in range(3)))
    yield "palette.png", saved(palette, "PNG")
    yield "palette-transparent.png", saved(palette, "PNG", transparency=bytes(range(0, 230, 10)))
    yield "palette-4bit.png", saved(small.quantize(11), "PNG", bits=4)
    yield "palette-short.png", png(4, 2, 8, 3, b"\0\0\1\2\1\0\2\1\3\2", (b"PLTE", bytes([200, 10, 20, 30, 220, 40, 50, 60, 240])))
    yield "grey-key.png", saved(grey, "PNG", transparency=128)
    yield "rgb-key.png", saved(small, "PNG", transparency=tuple(int(v) for v in array[5, 5]))
    yield "grey-16bit.png", png16(ramp16(40, 30), 0)
    yield "grey-key-16bit.png", png16(ramp16(20, 15), 0, (b"tRNS", struct.pack(">H", 37)))
    yield "grey-alpha-16bit.png", png16(np.stack([ramp16(20, 15), ramp16(20, 15)[::-1]], 2), 4)
    yield "rgb-16bit.png", png16(np.random.default_rng(8).integers(0, 65536, (21, 17, 3)), 2)
    yield "rgba-16bit.png", png16(np.random.default_rng(9).integers(0, 65536, (12, 13, 4)), 6)
    yield "interlaced.png", interlaced(array)
    yield "animated.png", saved(noise(16, 12, 3), "PNG", save_all=True, append_images=[noise(16, 12, 4)])
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "exif-6.png", saved(scene(24, 16), "PNG", exif=exif)

    # GIF.
    colours = bytes(np.random.default_rng(10).integers(0, 256, 48, dtype=np.uint8))
    indices = np.random.default_rng(11).integers(0, 16, (20, 30))
    yield "plain.gif", saved(palette, "GIF")
    yield "interlaced.gif", saved(palette, "GIF", interlace=1)
    yield "transparent.gif", gif((30, 20), (0, 0, 30, 20), colours, indices, transparent=3)
    yield "offset.gif", gif((50, 40), (7, 5, 30, 20), colours, indices, background=4)
    yield "offset-transparent.gif", gif((50, 40), (7, 5, 30, 20), colours, indices, transparent=9)
    yield "local-palette.gif", gif((32, 24), (1, 2, 30, 20), colours, indices, local=colours[::-1])
    yield "past-palette.gif", gif((30, 20), (0, 0, 30, 20), colours[:24], indices)
    yield "over-screen.gif", gif((20, 10), (3, 2, 30, 20), colours, indices)
    yield "animated.gif", saved(palette, "GIF", save_all=True, append_images=[palette.rotate(180)])

    # BMP.
    row = np.arange(16, dtype=np.uint32)
    yield "rgb.bmp", saved(small.crop((0, 0, 31, 22)), "BMP")
    yield "grey.bmp", saved(grey.crop((0, 0, 31, 22)), "BMP")
    yield "palette.bmp", saved(palette.crop((0, 0, 31, 22)), "BMP")
    yield "bilevel.bmp", saved(grey.convert("1"), "BMP")
    yield "rgba.bmp", saved(rgba.crop((0, 0, 31, 22)), "BMP")
    yield "rgb-32bit.bmp", bmp(16, 2, 32, 0, (np.concatenate([row, row + 9]) * 0x01234567).astype("<u4").tobytes())
    yield "top-down.bmp", bmp(16, -2, 24, 0, bytes(range(96)))
    yield "palette-4bit.bmp", bmp(10, 3, 4, 0, bytes(range(0x10, 0x28)), palette=bytes(np.arange(64, dtype=np.uint8) * 3))
    yield "rgb-555.bmp", bmp(64, 1, 16, 0, (np.arange(64) * 0x0421).astype("<u2").tobytes())
    yield "rgb-565.bmp", bmp(64, 1, 16, 3, (np.arange(64) * 0x0841 % 65536).astype("<u2").tobytes(),
                             masks=struct.pack("<III", 0xF800, 0x07E0, 0x001F))
    yield "rle8.bmp", bmp(12, 3, 8, 1, bytes([5, 1, 7, 2, 0, 0, 0, 5, 3, 4, 5, 6, 7, 0, 7, 9, 0, 0, 12, 8, 0, 1]),
                          palette=bytes(np.arange(40, dtype=np.uint8) * 5))
    # Pixels skipped by ends of rows and by jumps; the first colour of the palette is not black.
    left_out = bytes([5, 1, 0, 0, 3, 7, 0, 2, 4, 2, 2, 9, 0, 0, 0, 3, 6, 5, 4, 0, 0, 0, 0, 2, 1, 0, 11, 8, 0, 0, 0, 1])
    yield "rle8-left-out.bmp", bmp(12, 6, 8, 1, left_out, palette=bytes(np.arange(40, dtype=np.uint8) * 5 + 50))
    yield "rle4-left-out.bmp", bmp(12, 3, 4, 2, bytes([7, 0x12, 0, 5, 0x34, 0x56, 0x70, 0, 0, 0, 5, 0x9A, 0, 0, 12, 0xBC, 0, 0, 0, 1]),
                                   palette=bytes(np.arange(64, dtype=np.uint8) * 3 + 60))

    # TIFF.
    crop = (0, 0, 33, 21)
    yield "rgb.tif", saved(small.crop(crop), "TIFF")
    yield "rgb-lzw.tif", saved(small.crop(crop), "TIFF", compression="tiff_lzw")
    yield "rgb-deflate.tif", saved(small.crop(crop), "TIFF", compression="tiff_adobe_deflate")
    yield "rgba.tif", saved(rgba.crop(crop), "TIFF")
    yield "grey.tif", saved(grey.crop(crop), "TIFF")
    yield "grey-alpha.tif", saved(Image.merge("LA", [grey, alpha]).crop(crop), "TIFF")
    yield "bilevel.tif", saved(grey.convert("1").crop(crop), "TIFF")
    yield "grey-16bit.tif", saved(Image.fromarray(ramp16(20, 15)), "TIFF")
    # Pillow writes no such file, and reads it as if zero were black.
    black_is_zero = saved(Image.fromarray(ramp16(20, 15)), "TIFF")
    photometric = struct.pack("<HHI", 262, 3, 1)
    assert black_is_zero.count(photometric + b"\1\0") == 1
    yield "grey-16bit-white-is-zero.tif", black_is_zero.replace(photometric + b"\1\0", photometric + b"\0\0")
    yield "cmyk.tif", saved(noise(16, 16, 5).convert("CMYK"), "TIFF")
    inks = Image.fromarray(np.random.default_rng(12).integers(0, 256, (40, 40, 4), dtype=np.uint8), "CMYK")
    yield "cmyk-all.tif", saved(inks, "TIFF")
    yield "orientation-8.tif", saved(scene(24, 16), "TIFF", tiffinfo={274: 8})

    # WebP.
    yield "lossless.webp", saved(small, "WEBP", lossless=True)
    yield "lossless-alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "animated.webp", saved(small, "WEBP", lossless=True, save_all=True, append_images=[small.rotate(180)], duration=50)
    yield "lossy.webp", saved(scene(150, 101, 13), "WEBP", quality=80)
    yield "lossy-alpha.webp", saved(rgba, "WEBP", quality=70)

    # JPEG.
    photo = scene(203, 151, 14)
    yield "444.jpg", saved(photo, "JPEG", quality=90, subsampling="4:4:4")
    yield "422.jpg", saved(photo, "JPEG", quality=85, subsampling="4:2:2")
    yield "420.jpg", saved(photo, "JPEG", quality=85, subsampling="4:2:0")
    yield "colour-edges.jpg", saved(stripes(100, 61), "JPEG", quality=85, subsampling="4:2:0")
    yield "grey.jpg", saved(photo.convert("L"), "JPEG", quality=85)
    yield "progressive.jpg", saved(photo, "JPEG", quality=80, progressive=True)
    yield "restart.jpg", saved(photo, "JPEG", quality=75, restart_marker_rows=2)
    yield "rgb.jpg", adobe_rgb(small)
    yield "cmyk.jpg", saved(small.convert("CMYK"), "JPEG", quality=90)
    yield "ycck.jpg", ycck(small)
    yield "tiny.jpg", saved(noise(3, 5), "JPEG", quality=90)
    yield "odd-17x9.jpg", saved(scene(17, 9), "JPEG", quality=90)
    yield "large.jpg", saved(scene(1024, 680, 15), "JPEG", quality=35)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif-{orientation}.jpg", saved(scene(30, 20, 16), "JPEG", quality=92, subsampling=0, exif=exif)


def ankle_boot():
    """Test image 0 of Fashion-MNIST, enlarged: the image that the README classifies."""
    with gzip.open("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz") as f:
        pixels = np.frombuffer(f.read(16 + 28 * 28), np.uint8, offset=16).reshape(28, 28)
    image = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC)
    return saved(image, "PNG", optimize=True)


def digest(data):
    """The first 16 hex digits of the SHA-256 sum."""
    return hashlib.sha256(data).hexdigest()[:16]


def expected_of(name, image, spec_name, spec, lossy):
    """Sums of the cropped pixels and the tensor, or None if timm itself fails."""
    options = dict(crop_pct=spec["crop_pct"], crop_mode=spec.get("crop_mode"), interpolation=spec["interpolation"],
                   mean=spec["mean"], std=spec["std"])
    transform = transforms_imagenet_eval(tuple(spec["size"]), **options)
    steps = [step for step in transform.transforms if not isinstance(step, transforms.Normalize)][:-1]
    pixels = image
    try:
        for step in steps:
            pixels = step(pixels)
    except ValueError:
        return None
    assert pixels.size == (spec["size"][1], spec["size"][0])
    tensor = transform(image)
    if lossy:
        pixels.save(EXPECTED / f"{name}.{spec_name}.png", optimize=True)
    return " ".join([digest(pixels.tobytes()), digest(tensor.numpy().astype("<f4").tobytes())])


def main():
    for folder in (IMAGES, EXPECTED):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            # Other scripts write the other .json files.
            if old.suffix != ".json":
                old.unlink()
    files = {}
    for name, content in [*images(), ("ankle-boot.png", ankle_boot())]:
        (IMAGES / name).write_bytes(content)
        with Image.open(io.BytesIO(content)) as opened:
            mode = opened.mode
            image = opened.convert("RGB")
        lossy = name.endswith(".jpg")
        entry = dict(mode=mode, width=image.width, height=image.height, lossy=lossy, rgb=digest(image.tobytes()))
        if "exif" in name:
            with Image.open(io.BytesIO(content)) as opened:
                turned = ImageOps.exif_transpose(opened).convert("RGB")
            entry["turned"] = dict(width=turned.width, height=turned.height, rgb=digest(turned.tobytes()))
            if lossy:
                turned.save(EXPECTED / f"{name}.turned.png", optimize=True)
        if lossy and max(image.size) <= 256:
            image.save(EXPECTED / f"{name}.rgb.png", optimize=True)
        names = SMALL_SPECS if lossy else SPECS
        if name in ("420.jpg", "large.jpg"):
            names = [*SMALL_SPECS, "bicubic-48x80-9", "border-64-1"]
        if name == "large.jpg":
            names = [*names, "bicubic-224-875"]
        entry["specs"] = {n: expected_of(name, image, n, SPECS[n], lossy) for n in names}
        files[name] = entry
    versions = dict(pillow=PIL.__version__, torchvision=torchvision.__version__, torch=torch.__version__,
                    timm=timm.__version__, libjpeg_turbo=features.version("libjpeg_turbo"),
                    webp=features.version("webp"), zlib=features.version("zlib"))
    document = dict(versions=versions, specs=SPECS, pictures=files)
    (EXPECTED / "expected.json").write_text(json.dumps(document, indent=1) + "\n")
    for folder in (IMAGES, EXPECTED):
        sizes = [path.stat().st_size for path in folder.iterdir()]
        print(f"{folder.name}: {len(sizes)} files, {sum(sizes) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
