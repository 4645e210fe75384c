"""Write tests/data/image_cases.json: image files as cameras, scanners and broken disks leave them, and how Pillow
decodes them.

    pip install pillow numpy
    python tests/tools/make_image_cases.py

Each case has the file, the size and the SHA-256 sum of its RGB pixels, and the same rotated by
`ImageOps.exif_transpose`; none of these if Pillow refuses the file. Where decoders may differ
slightly, it has the pixels as a PNG instead of the sum. A damaged JPEG has the number of pixels that
Pillow gets wrong, with the whole file as its reference.
"""

import base64
import hashlib
import io
import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, features

OUT = Path(__file__).parent.parent / "data" / "image_cases.json"
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description {}</rdf:RDF></x:xmpmeta>'


def attribute(value):
    return XMP.format(f'tiff:Orientation="{value}"/>').encode()


def element(value):
    return XMP.format(f"><tiff:Orientation>{value}</tiff:Orientation></rdf:Description>").encode()


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def scene(width, height, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.stack([40 + 170 * x / width, 60 + 150 * y / height, 200 - 130 * x * y / width / height], 2)
    for _ in range(5):
        cx, cy, r = rng.random() * width, rng.random() * height, (0.1 + 0.2 * rng.random()) * min(width, height)
        image[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = rng.random(3) * 255
    return Image.fromarray((image + rng.normal(0, 1, image.shape)).clip(0, 255).astype(np.uint8))


def flat():
    """Flat blocks of grey: every JPEG decoder gives the same pixels."""
    blocks = np.array([[10, 60, 110], [240, 200, 160]], np.uint8)
    return Image.fromarray(np.kron(blocks, np.ones((8, 8), np.uint8)))


# EXIF and XMP

SHORT, LONG = 3, 4


def directory(entries, order="<", start=8):
    """A TIFF structure of (tag, type, count, value)."""
    data, values = b"", b""
    behind = start + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        if len(value) > 4:
            place = struct.pack(order + "L", behind + len(values))
            values += value
        else:
            place = value.ljust(4, b"\0")
        data += struct.pack(order + "HHL", tag, kind, count) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", start)
    return head.ljust(start, b"\0") + struct.pack(order + "H", len(entries)) + data + bytes(4) + values


def orientation(value, order="<"):
    return (274, SHORT, 1, struct.pack(order + "H", value))


def exif_blocks():
    """EXIF that holds orientation 6, or seems to."""
    six = orientation(6)
    yield "short", directory([six])
    yield "big-endian", directory([orientation(6, ">")], ">")
    yield "byte", directory([(274, 1, 1, b"\6")])
    yield "ascii", directory([(274, 2, 2, b"6\0")])
    yield "long", directory([(274, 4, 1, struct.pack("<L", 6))])
    yield "long-big-endian", directory([(274, 4, 1, struct.pack(">L", 6))], ">")
    yield "rational", directory([(274, 5, 1, struct.pack("<LL", 12, 2))])
    yield "rational-of-zero", directory([(274, 5, 1, struct.pack("<LL", 6, 0))])
    yield "rational-between", directory([(274, 5, 1, struct.pack("<LL", 13, 2))])
    yield "signed-byte", directory([(274, 6, 1, b"\6")])
    yield "undefined", directory([(274, 7, 1, b"\6")])
    yield "signed-short", directory([(274, 8, 1, struct.pack("<h", 6))])
    yield "signed-long", directory([(274, 9, 1, struct.pack("<l", 6))])
    yield "signed-rational", directory([(274, 10, 1, struct.pack("<ll", -6, -1))])
    yield "float", directory([(274, 11, 1, struct.pack("<f", 6))])
    yield "double", directory([(274, 12, 1, struct.pack("<d", 6))])
    yield "ifd", directory([(274, 13, 1, struct.pack("<L", 6))])
    yield "long8", directory([(274, 16, 1, struct.pack("<Q", 6))])
    yield "unknown-type", directory([(274, 99, 1, b"\6\0")])
    yield "two-numbers", directory([(274, 3, 2, struct.pack("<2H", 6, 1))])
    yield "three-numbers", directory([(274, 3, 3, struct.pack("<3H", 6, 1, 1))])
    yield "no-number", directory([(274, 3, 0, b"\6\0")])
    yield "twice", directory([six, orientation(3)])
    yield "twice-first-empty", directory([(274, 3, 0, b"\3\0"), six])
    yield "twice-first-unknown", directory([(274, 99, 1, b"\3\0"), six])
    yield "behind-others", directory([(271, 2, 9, b"a camera\0"), (272, 2, 3, b"x1\0"), six])
    yield "behind-a-cut-value", directory([(271, 2, 20, struct.pack("<L", 9000)), six])
    yield "behind-a-value-too-long", directory([(271, 2, 900_000, struct.pack("<L", 8)), six])
    yield "far-directory", directory([six], start=100)
    yield "cut-directory", directory([orientation(1), six])[:-12]
    yield "directory-outside", b"II*\0" + struct.pack("<L", 4000)
    yield "wrong-magic-order", b"II\0*" + directory([six])[4:]
    yield "no-magic", b"XX*\0" + directory([six])[4:]
    yield "header-twice", b"Exif\0\0" + directory([six])
    yield "header-three-times", b"Exif\0\0Exif\0\0" + directory([six])
    yield "empty", b""
    for value in (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 255, 262):
        yield f"value-{value}", directory([orientation(value)])


def jpeg_with(*segments, image=None):
    data = saved(image or flat(), "JPEG", quality=95)
    extra = b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments)
    return data[:2] + extra + data[2:]


EXIF = b"Exif\0\0"
ADOBE = b"http://ns.adobe.com/xap/1.0/\0"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(before=(), after=(), image=None):
    data = saved(image or flat(), "PNG")
    end = len(data) - 12
    pixels = data.index(b"IDAT") - 4
    return data[:pixels] + b"".join(before) + data[pixels:end] + b"".join(after) + data[end:]


def profile(block):
    return f"\nexif\n{len(block):8}\n".encode() + b"\n".join(
        block.hex().encode()[i:i + 72] for i in range(0, 2 * len(block), 72)) + b"\n"


def webp(*chunks, flags=0x0C):
    """Flat grey with an extended header."""
    pixels = saved(flat().convert("RGB"), "WEBP", lossless=True)[12:]
    width, height = flat().size
    header = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP"
    for kind, data in [(b"VP8X", header), (pixels[:4], pixels[8:8 + struct.unpack("<L", pixels[4:8])[0]]), *chunks]:
        body += kind + struct.pack("<L", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def orientations():
    for name, block in exif_blocks():
        yield f"orientation/jpeg-{name}.jpg", jpeg_with(EXIF + block)
    six, one, none = directory([orientation(6)]), directory([orientation(1)]), directory([(271, 2, 2, b"x\0")])
    for name, text in [
        ("attribute", attribute(6)), ("element", element(8)), ("zero", attribute(0)), ("nine", element(9)),
        ("two-digits", attribute(61)), ("spaces", attribute(6).replace(b"=", b" = ")), ("quotes", attribute(6).replace(b'"6"', b"'6'")),
        ("second-match", b"tiff:Orientation: 3 " + attribute(6)), ("first-match", element(3) + attribute(6)), ("no-digit", attribute("x")),
    ]:
        yield f"orientation/jpeg-xmp-{name}.jpg", jpeg_with(ADOBE + text)
        yield f"orientation/png-xmp-{name}.png", png_with([chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)])
    yield "orientation/jpeg-xmp-twice.jpg", jpeg_with(ADOBE + attribute(3), ADOBE + attribute(6))
    yield "orientation/jpeg-exif-1-xmp-6.jpg", jpeg_with(EXIF + one, ADOBE + attribute(6))
    yield "orientation/jpeg-exif-0-xmp-6.jpg", jpeg_with(EXIF + directory([orientation(0)]), ADOBE + attribute(6))
    yield "orientation/jpeg-exif-bytes-xmp-6.jpg", jpeg_with(EXIF + directory([(274, 1, 1, b"\3")]), ADOBE + attribute(6))
    yield "orientation/jpeg-exif-without-xmp-6.jpg", jpeg_with(EXIF + none, ADOBE + attribute(6))
    yield "orientation/jpeg-xmp-before-exif.jpg", jpeg_with(ADOBE + attribute(3), EXIF + six)
    yield "orientation/jpeg-two-exif-parts.jpg", jpeg_with(EXIF + six[:14], EXIF + six[14:])
    yield "orientation/jpeg-other-app1.jpg", jpeg_with(b"other" + six, EXIF + six)
    late = saved(flat(), "JPEG", quality=95)
    segment = b"\xff\xe1" + struct.pack(">H", len(six) + 8) + EXIF + six
    yield "orientation/jpeg-exif-after-pixels.jpg", late[:-2] + segment + late[-2:]

    yield "orientation/png-exif.png", png_with([chunk(b"eXIf", six)])
    yield "orientation/png-exif-with-header.png", png_with([chunk(b"eXIf", EXIF + six)])
    yield "orientation/png-exif-after-pixels.png", png_with(after=[chunk(b"eXIf", six)])
    yield "orientation/png-exif-twice.png", png_with([chunk(b"eXIf", one)], [chunk(b"eXIf", six)])
    key = b"Raw profile type exif\0"
    yield "orientation/png-profile-text.png", png_with([chunk(b"tEXt", key + profile(EXIF + six))])
    yield "orientation/png-profile-without-header.png", png_with([chunk(b"tEXt", key + profile(six))])
    yield "orientation/png-profile-compressed.png", png_with([chunk(b"zTXt", key + b"\0" + zlib.compress(profile(EXIF + six)))])
    yield "orientation/png-profile-international.png", png_with([chunk(b"iTXt", key + b"\0\0\0\0" + profile(EXIF + six))])
    yield "orientation/png-profile-international-compressed.png", png_with(
        [chunk(b"iTXt", key + b"\1\0en\0x\0" + zlib.compress(profile(EXIF + six)))])
    yield "orientation/png-profile-after-pixels.png", png_with(after=[chunk(b"tEXt", key + profile(EXIF + six))])
    yield "orientation/png-exif-and-profile.png", png_with([chunk(b"tEXt", key + profile(six)), chunk(b"eXIf", one)])
    yield "orientation/png-exif-without-and-xmp.png", png_with(
        [chunk(b"eXIf", none), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + attribute(6))])
    yield "orientation/png-xmp-as-text.png", png_with([chunk(b"tEXt", b"XML:com.adobe.xmp\0" + attribute(6))])
    yield "orientation/png-xmp-compressed.png", png_with(
        [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(attribute(6)))])
    yield "orientation/png-xmp-after-pixels.png", png_with(
        after=[chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + attribute(6))])
    frames = [flat().convert("RGB"), flat().convert("RGB").rotate(180)]
    animated = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    end = len(animated) - 12
    yield "orientation/png-exif-after-frames.png", animated[:end] + chunk(b"eXIf", six) + animated[end:]

    yield "orientation/webp-exif.webp", webp((b"EXIF", six))
    yield "orientation/webp-exif-with-header.webp", webp((b"EXIF", EXIF + six))
    yield "orientation/webp-exif-not-announced.webp", webp((b"EXIF", six), flags=0)
    yield "orientation/webp-xmp.webp", webp((b"XMP ", element(6)), flags=4)
    yield "orientation/webp-xmp-not-announced.webp", webp((b"XMP ", element(6)), (b"EXIF", none), flags=8)
    yield "orientation/webp-exif-without-and-xmp.webp", webp((b"EXIF", none), (b"XMP ", attribute(3)))
    yield "orientation/webp-exif-twice.webp", webp((b"EXIF", six), (b"EXIF", one), flags=8)

    image = flat()
    for name, tags in [
        ("short", {274: 6}), ("value-0", {274: 0}), ("value-9", {274: 9}), ("xmp", {700: attribute(6)}),
        ("xmp-and-tag", {274: 3, 700: attribute(6)}), ("xmp-and-1", {274: 1, 700: attribute(6)}),
    ]:
        yield f"orientation/tiff-{name}.tif", saved(image, "TIFF", tiffinfo=tags)
    yield "orientation/tiff-big.tif", saved(image, "TIFF", tiffinfo={274: 6}, big_tiff=True)
    tiff = bytearray(saved(image, "TIFF", tiffinfo={274: 6}))
    at = tiff.index(struct.pack("<HHL", 274, SHORT, 1))
    for name, kind, value in [("long", 4, b"\6\0\0\0"), ("signed-byte", 6, b"\6\0\0\0"), ("byte", 1, b"\6\0\0\0"),
                              ("float", 11, struct.pack("<f", 6))]:
        tiff[at:at + 12] = struct.pack("<HHL", 274, kind, 1) + value
        yield f"orientation/tiff-{name}.tif", bytes(tiff)
    tiff[at:at + 12] = struct.pack("<HHLHH", 274, 3, 2, 6, 1)
    yield "orientation/tiff-two-numbers.tif", bytes(tiff)


# Files that are truncated or lie

def png_palette(size, depth=8):
    rows = b"".join(b"\0" + bytes([0, 1, 2, 3]) for _ in range(2)) if depth == 8 else b"\0\x1b\0\xb1"
    header = struct.pack(">IIBBBBB", 4, 2, depth, 3, 0, 0, 0)
    palette = bytes((37 * i + 11) % 256 for i in range(size))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bmp(bits, offset=None, header=40, compression=0, colors=0, masks=b""):
    """8 x 4 pixels, in a file that states `offset` as their position."""
    pixels = {1: 4, 4: 4, 8: 8, 16: 16, 24: 24, 32: 32}[bits] * 4
    entries = (colors or 1 << bits) if bits <= 8 else 0
    palette = bytes((41 * i + 7) % 256 for i in range(entries * (3 if header == 12 else 4)))
    if header == 12:
        info = struct.pack("<IHHHH", 12, 8, 4, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, 8, 4, 1, bits, compression, pixels, 0, 0, colors, 0).ljust(header, b"\0")
    data = bytes((53 * i + 3) % 256 for i in range(pixels))
    if compression == 1:
        data = bytes([8, 1, 0, 0, 8, 2, 0, 0, 8, 3, 0, 0, 4, 4, 4, 5, 0, 0, 0, 1])
    body = info + masks + palette
    right = 14 + len(body)
    return b"BM" + struct.pack("<IHHI", right + len(data), 0, 0, right if offset is None else offset) + body + data


def broken():
    for name, image in [("rgb", scene(20, 14)), ("palette", scene(20, 14).quantize(9)), ("grey", scene(20, 14).convert("L"))]:
        whole = saved(image, "PNG")
        data = whole.index(b"IDAT")
        length = struct.unpack(">I", whole[data - 4:data])[0]
        end = data + 4 + length
        for what, cut in [("end", len(whole) - 12), ("end-in-its-middle", len(whole) - 5), ("sum", end), ("adler", end - 4),
                          ("half", data + 4 + length // 2), ("nearly-all", end - 12)]:
            yield f"broken/png-without-{what}-{name}.png", whole[:cut]
        yield f"broken/png-wrong-adler-{name}.png", whole[:end - 4] + chunk(b"IDAT", bytes(8))[8:12] + whole[end:]
    for size in (1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 767, 768):
        yield f"broken/png-palette-of-{size}.png", png_palette(size)
        if size <= 12:
            yield f"broken/png-2-bit-palette-of-{size}.png", png_palette(size, 2)
    for bits in (1, 4, 8, 16, 24, 32):
        for offset in (None, 0, 14, 30, 54):
            yield f"broken/bmp-{bits}-bit-offset-{offset}.bmp", bmp(bits, offset)
    for offset in (None, 0, 26):
        for bits in (8, 24):
            yield f"broken/bmp-core-{bits}-bit-offset-{offset}.bmp", bmp(bits, offset, header=12)
    for offset in (0, 54):
        yield f"broken/bmp-few-colors-offset-{offset}.bmp", bmp(8, offset, colors=20)
        yield f"broken/bmp-run-length-offset-{offset}.bmp", bmp(8, offset, compression=1)
        masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
        yield f"broken/bmp-565-offset-{offset}.bmp", bmp(16, offset, compression=3, masks=masks)
    for header in (108, 124):
        for offset in (0, 14 + header):
            yield f"broken/bmp-header-{header}-offset-{offset}.bmp", bmp(8, offset, header=header)

    block = directory([orientation(6)])
    whole = webp((b"EXIF", block), flags=8)
    at = whole.index(b"EXIF") + 4
    for length in (len(block) + 10, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFF6, 0xFFFFFFFF):
        yield f"broken/webp-exif-of-{length}.webp", whole[:at] + struct.pack("<L", length) + whole[at + 4:]
    alpha = scene(40, 30).convert("RGBA")
    alpha.putalpha(Image.fromarray((np.arange(1200) * 7 % 256).astype(np.uint8).reshape(30, 40)))
    for name, data in [("lossy", saved(scene(40, 30), "WEBP", quality=60)), ("lossless", saved(scene(16, 12), "WEBP", lossless=True)),
                       ("lossy-alpha", saved(alpha, "WEBP", quality=60)), ("exif", whole),
                       ("animated", saved(flat().convert("RGB"), "WEBP", lossless=True, save_all=True, append_images=[flat().rotate(180).convert("RGB")]))]:
        for parts in (10, 30, 50, 70, 90, 99):
            yield f"broken/webp-{name}-{parts}-percent.webp", data[:len(data) * parts // 100]
        yield f"broken/webp-{name}-and-rest.webp", data + b"rest"


# TIFF

def tiff(data, bits, photometric, order="<", samples=1, formats=None, size=(8, 4), more=(), replace=()):
    """One strip. `more` are (tag, type, values); `replace` changes the types of tags."""
    width, height = size
    entries = {256: (3, [width]), 257: (3, [height]), 258: (3, [bits] * samples), 259: (3, [1]), 262: (3, [photometric]),
               273: (4, [0]), 277: (3, [samples]), 278: (3, [height]), 279: (4, [len(data)])}
    if formats:
        entries[339] = (3, [formats] * samples)
    entries |= {tag: (kind, values) for tag, kind, values in [*more, *replace]}
    codes = {1: "B", 2: "B", 3: "H", 4: "L", 5: "LL", 6: "b", 8: "h", 9: "l", 11: "f", 12: "d", 16: "Q"}

    def build(start):
        entries[273] = (entries[273][0], [start])
        packed = []
        for tag, (kind, values) in sorted(entries.items()):
            flat_values = [n for v in values for n in (v if isinstance(v, tuple) else (v,))]
            value = struct.pack(f"{order}{codes[kind] * len(values)}", *flat_values)
            packed.append((tag, kind, len(values), value))
        return directory(packed, order)
    return build(len(build(0))) + data


def tiffs():
    image = scene(20, 14, 8)
    numbers = np.arange(32)
    colors = [int(v) for v in np.random.default_rng(4).integers(0, 65536, 768)]
    for order, word in (("<", "little"), (">", "big")):
        for bits in (1, 2, 4, 8):
            count = 1 << bits
            data = bytes((i * 29 + 5) % 256 for i in range(8 * bits // 8 * 4))
            yield f"palette-{bits}-bit-{word}", tiff(data, bits, 3, order, more=[(320, 3, colors[:3 * count])])
        yield f"palette-short-{word}", tiff(bytes(range(32)), 8, 3, order, more=[(320, 3, colors[:30])])
        yield f"palette-alpha-{word}", tiff(bytes(range(64)), 8, 3, order, samples=2, more=[(320, 3, colors), (338, 3, [2])])
        values = np.linspace(-40, 300, 32)
        yield f"float-{word}", tiff(values.astype(order + "f4").tobytes(), 32, 1, order, formats=3)
        yield f"float-white-is-zero-{word}", tiff(values.astype(order + "f4").tobytes(), 32, 0, order, formats=3)
        special = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.999, 254.999, 255.5] * 4, order + "f4")
        yield f"float-special-{word}", tiff(special.tobytes(), 32, 1, order, formats=3)
        yield f"signed-32-bit-{word}", tiff((values * 1.0).astype(order + "i4").tobytes(), 32, 1, order, formats=2)
        yield f"unsigned-32-bit-{word}", tiff((numbers * 0x0C000000 % 2**32 + numbers * 9).astype(order + "u4").tobytes(), 32, 1, order)
        yield f"signed-16-bit-{word}", tiff(values.astype(order + "i2").tobytes(), 16, 1, order, formats=2)
        yield f"signed-8-bit-{word}", tiff((numbers * 9 % 256).astype("u1").tobytes(), 8, 1, order, formats=2)
        yield f"double-{word}", tiff(values.astype(order + "f8").tobytes(), 64, 1, order, formats=3)
        yield f"half-{word}", tiff(values.astype(order + "f2").tobytes(), 16, 1, order, formats=3)
        yield f"rgb-float-{word}", tiff(np.linspace(0, 1, 96).astype(order + "f4").tobytes(), 32, 2, order, samples=3, formats=3)
        yield f"ycbcr-{word}", tiff(np.random.default_rng(6).integers(0, 256, 96, np.uint8).tobytes(), 8, 6, order, samples=3, more=[(530, 3, [1, 1])])
        yield f"ycbcr-without-subsampling-{word}", tiff(np.random.default_rng(6).integers(0, 256, 96, np.uint8).tobytes(), 8, 6, order, samples=3)
        yield f"lab-{word}", tiff(np.random.default_rng(7).integers(0, 256, 96, np.uint8).tobytes(), 8, 8, order, samples=3)
        yield f"grey-in-long-tags-{word}", tiff(bytes(range(32)), 8, 1, order, replace=[(256, 4, [8]), (257, 4, [4]), (258, 4, [8]), (277, 4, [1]), (278, 4, [4])])
        yield f"grey-in-short-places-{word}", tiff(bytes(range(32)), 8, 1, order, replace=[(273, 3, [0]), (279, 3, [32])])
        for what, change in [("rational-width", (256, 5, [(8, 1)])), ("float-width", (256, 11, [8.0])), ("byte-width", (256, 1, [8])),
                             ("text-width", (256, 2, [56, 0])), ("signed-width", (256, 8, [8])), ("negative-width", (256, 8, [-8])),
                             ("two-widths", (256, 3, [8, 8])), ("two-photometrics", (262, 3, [1, 1])), ("long-photometric", (262, 4, [1])),
                             ("byte-photometric", (262, 1, [1])), ("float-compression", (259, 11, [1.0])), ("three-depths", (258, 3, [8, 8, 8])),
                             ("byte-depth", (258, 1, [8])), ("long8-height", (257, 16, [4])), ("signed-rows", (278, 9, [4]))]:
            yield f"ill-typed-{what}-{word}", tiff(bytes(range(0, 160, 5)), 8, 1, order, replace=[change])
    double = bytearray(tiff(bytes(range(32)), 8, 1, more=[(269, 3, [4])]))
    at = double.index(struct.pack("<HHL", 269, 3, 1))
    for what, entry_ in [("width", (256, 3, 1, 4)), ("same-width", (256, 3, 1, 8)), ("photometric", (262, 3, 1, 0)), ("depth", (258, 3, 1, 4))]:
        double[at:at + 12] = struct.pack("<HHLHH", *entry_, 0)
        yield f"twice-{what}", bytes(double)
    for kind, mode in [("rgb", image), ("grey", image.convert("L")), ("palette", image.quantize(20)), ("bilevel", image.convert("1")),
                       ("cmyk", image.convert("CMYK")), ("float", Image.fromarray(np.linspace(-9, 270, 280, dtype=np.float32).reshape(14, 20))),
                       ("ycbcr", image.convert("YCbCr")), ("lab", None), ("16-bit", Image.fromarray((np.arange(280) * 3).astype(np.uint16).reshape(14, 20)))]:
        if mode is None:
            continue
        yield f"{kind}-big", saved(mode, "TIFF", big_tiff=True)
        for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma", "webp", "group4", "group3", "tiff_ccitt"):
            try:
                yield f"{kind}-{compression}", saved(mode, "TIFF", compression=compression)
            except Exception:
                pass
    yield "grey-alpha-jpeg", saved(image.convert("LA"), "TIFF", compression="jpeg")


# JPEG

def jpeg_tables():
    """The standard's Huffman tables, from a file of Pillow: {(class, slot): {symbol: (code, length)}}."""
    data, at, segments = saved(scene(16, 16), "JPEG", quality=90), 2, {}
    payloads = []
    while data[at + 1] != 0xDA:
        length = struct.unpack(">H", data[at + 2:at + 4])[0]
        payloads.append((data[at + 1], data[at + 4:at + 2 + length]))
        at += 2 + length
    codes = {}
    for kind, payload in payloads:
        while kind == 0xC4 and payload:
            counts, place, code = payload[1:17], 17, 0
            table = codes[payload[0] >> 4, payload[0] & 15] = {}
            for length, count in enumerate(counts, 1):
                for _ in range(count):
                    table[payload[place]] = (code, length)
                    place, code = place + 1, code + 1
                code <<= 1
            payload = payload[place:]
    return codes, b"".join(p for k, p in payloads if k == 0xC4)


ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i // 8 if (i // 8 + i % 8) % 2 else i % 8)))


class Encoder:
    """Sequential JPEG in any order of scans, which no common program writes."""

    def __init__(self, image, factors, restart=0):
        self.codes, self.tables = jpeg_tables()
        self.factors, self.restart = factors, restart
        ycc = np.array(image.convert("YCbCr"), np.float64)
        if len(factors) == 1:
            ycc = np.array(image.convert("L"), np.float64)[:, :, None]
        self.height, self.width = ycc.shape[:2]
        self.most = [max(f[i] for f in factors) for i in (0, 1)]
        self.mcus = [-(-edge // (8 * most)) for edge, most in zip((self.width, self.height), self.most)]
        self.blocks = []
        basis = np.array([[np.sqrt((1 if k == 0 else 2) / 8) * np.cos((2 * n + 1) * k * np.pi / 16) for n in range(8)] for k in range(8)])
        for c, (h, v) in enumerate(factors):
            across, down = self.most[0] // h, self.most[1] // v
            edges = self.mcus[1] * 8 * self.most[1] - self.height, self.mcus[0] * 8 * self.most[0] - self.width
            plane = np.pad(ycc[:, :, c], ((0, edges[0]), (0, edges[1])), "edge")
            plane = plane.reshape(plane.shape[0] // down, down, -1, across).mean((1, 3)) - 128
            rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
            grid = plane.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
            self.blocks.append(np.rint(basis @ grid @ basis.T / 6).astype(int).reshape(rows, columns, 64)[:, :, ZIGZAG])

    def own_size(self, c):
        h, v = self.factors[c]
        return -(-self.width * h // (8 * self.most[0])), -(-self.height * v // (8 * self.most[1]))

    def scan(self, components):
        bits, out, last = "", b"", [0] * 3
        if len(components) == 1:
            c = components[0]
            columns, rows = self.own_size(c)
            units = [[(c, y, x)] for y in range(rows) for x in range(columns)]
        else:
            units = [[(c, y * self.factors[c][1] + j, x * self.factors[c][0] + i) for c in components
                      for j in range(self.factors[c][1]) for i in range(self.factors[c][0])]
                     for y in range(self.mcus[1]) for x in range(self.mcus[0])]

        def put(table, symbol, value=0, length=0):
            code, size = self.codes[table][symbol]
            raw = value if value >= 0 else value + (1 << length) - 1
            return f"{code:0{size}b}" + (f"{raw:0{length}b}" if length else "")

        def flush():
            padded = bits + "1" * (-len(bits) % 8)
            return bytes(int(padded[i:i + 8], 2) for i in range(0, len(padded), 8)).replace(b"\xff", b"\xff\0")

        for n, unit in enumerate(units):
            if self.restart and n and n % self.restart == 0:
                out += flush() + bytes([0xFF, 0xD0 + (n // self.restart - 1) % 8])
                bits, last = "", [0] * 3
            for c, y, x in unit:
                block = self.blocks[c][y, x]
                slot = min(c, 1)
                difference = int(block[0]) - last[c]
                last[c] = int(block[0])
                size = abs(difference).bit_length()
                bits += put((0, slot), size, difference, size)
                zeros = 0
                for value in block[1:]:
                    if value == 0:
                        zeros += 1
                        continue
                    while zeros > 15:
                        bits += put((1, slot), 0xF0)
                        zeros -= 16
                    size = abs(int(value)).bit_length()
                    bits += put((1, slot), zeros << 4 | size, int(value), size)
                    zeros = 0
                if zeros:
                    bits += put((1, slot), 0)
        header = bytes([len(components)]) + b"".join(bytes([c + 1, min(c, 1) * 17]) for c in components) + b"\0\x3f\0"
        return self.segment(0xDA, header) + out + flush()

    @staticmethod
    def segment(kind, data):
        return bytes([0xFF, kind]) + struct.pack(">H", len(data) + 2) + data

    def file(self, scans, tables=True):
        frame = struct.pack(">BHHB", 8, self.height, self.width, len(self.factors)) + b"".join(
            bytes([c + 1, h << 4 | v, 0]) for c, (h, v) in enumerate(self.factors))
        out = b"\xff\xd8" + self.segment(0xDB, b"\0" + bytes([6] * 64)) + self.segment(0xC0, frame)
        if tables:
            out += self.segment(0xC4, self.tables)
        if self.restart:
            out += self.segment(0xDD, struct.pack(">H", self.restart))
        return out + b"".join(self.scan(scan) for scan in scans) + b"\xff\xd9"


def without_tables(data):
    out, at = data[:2], 2
    while data[at + 1] != 0xDA:
        length = 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        out += b"" if data[at + 1] == 0xC4 else data[at:at + length]
        at += length
    return out + data[at:]


def jpegs():
    image = scene(45, 35, 3)
    for name, factors in [("444", [(1, 1)] * 3), ("420", [(2, 2), (1, 1), (1, 1)]), ("422", [(2, 1), (1, 1), (1, 1)])]:
        for order in ([[0, 1, 2]], [[0], [1], [2]], [[2], [0], [1]], [[1], [2], [0]], [[2], [1], [0]], [[0], [1, 2]], [[1, 2], [0]]):
            for restart in (0, 3):
                label = "-".join("".join(map(str, scan)) for scan in order)
                yield f"jpeg/{name}-scans-{label}-restart-{restart}.jpg", Encoder(image, factors, restart).file(order)
    yield "jpeg/grey.jpg", Encoder(image, [(1, 1)]).file([[0]])
    yield "jpeg/grey-2x2.jpg", Encoder(image, [(2, 2)]).file([[0]])
    yield "jpeg/without-tables.jpg", without_tables(saved(image, "JPEG", quality=80))
    yield "jpeg/without-tables-444-scans.jpg", Encoder(image, [(1, 1)] * 3).file([[2], [1], [0]], tables=False)
    yield "jpeg/progressive-restart.jpg", saved(image, "JPEG", quality=80, progressive=True, restart_marker_blocks=2)
    plain = saved(image, "JPEG", quality=80)
    yield "jpeg/bytes-between-segments.jpg", plain[:20] + bytes(8) + plain[20:]
    yield "jpeg/bytes-before-the-end.jpg", plain[:-2] + b"\x12\x34\x56" + plain[-2:]
    yield "jpeg/fill-bytes.jpg", plain[:2] + b"\xff\xff\xff" + plain[2:-2] + b"\xff\xff" + plain[-2:]


def entropy(data):
    """Where the compressed data of the first scan starts and the last ends."""
    at = 2
    while data[at + 1] != 0xDA:
        at += 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
    return at + 2 + struct.unpack(">H", data[at + 2:at + 4])[0], len(data) - 2


def damages():
    image = scene(72, 56, 5)
    files = dict(plain=saved(image, "JPEG", quality=70), restart=saved(image, "JPEG", quality=70, restart_marker_blocks=4),
                 progressive=saved(image, "JPEG", quality=70, progressive=True),
                 progressive_restart=saved(image, "JPEG", quality=70, progressive=True, restart_marker_blocks=4))
    for name, whole in files.items():
        start, end = entropy(whole)
        marks = [i for i in range(start, end) if whole[i] == 0xFF and 0xD0 <= whole[i + 1] <= 0xD7]
        length = end - start

        def case(what, data):
            return f"damage/{name}-{what}.jpg", data, whole

        yield case("half", whole[:start + length // 2] + b"\xff\xd9")
        yield case("nine-tenths", whole[:start + length * 9 // 10] + b"\xff\xd9")
        yield case("nearly-whole", whole[:end - 6] + b"\xff\xd9")
        for part in (2, 5, 8):
            at = start + length * part // 10
            yield case(f"zeros-at-{part}", whole[:at] + bytes(60) + whole[at + 60:])
            yield case(f"overwritten-at-{part}", whole[:at] + whole[start:start + 60].replace(b"\xff", b"\x7f") + whole[at + 60:])
            yield case(f"removed-at-{part}", whole[:at] + whole[at + 60:])
            yield case(f"inserted-at-{part}", whole[:at] + bytes(range(1, 40)) + whole[at:])
            yield case(f"bit-at-{part}", whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:])
        if marks:
            mid = marks[len(marks) // 2]
            following = marks[len(marks) // 2 + 1]
            yield case("marker-removed", whole[:mid] + whole[mid + 2:])
            yield case("marker-wrong", whole[:mid + 1] + bytes([0xD0 + (whole[mid + 1] - 0xD0 + 3) % 8]) + whole[mid + 2:])
            yield case("marker-next", whole[:mid + 1] + bytes([0xD0 + (whole[mid + 1] - 0xD0 + 1) % 8]) + whole[mid + 2:])
            yield case("marker-before", whole[:mid + 1] + bytes([0xD0 + (whole[mid + 1] - 0xD0 + 7) % 8]) + whole[mid + 2:])
            yield case("marker-twice", whole[:mid + 2] + whole[mid:])
            yield case("marker-other", whole[:mid + 1] + b"\xfe" + whole[mid + 2:])
            yield case("interval-removed", whole[:mid] + whole[following:])
            yield case("interval-twice", whole[:following] + whole[mid:])
            yield case("interval-zeroed", whole[:mid + 2] + bytes(following - mid - 2) + whole[following:])
            yield case("all-markers-removed", b"".join(whole[a:b] for a, b in zip([0] + [m + 2 for m in marks], marks + [len(whole)])))


def unsupported():
    plain = saved(scene(24, 16), "JPEG", quality=80)
    at = plain.index(b"\xff\xc0") + 1
    for kind, name in [(0xC9, "arithmetic"), (0xCA, "arithmetic-progressive"), (0xC3, "lossless"), (0xC5, "hierarchical")]:
        yield f"unsupported/{name}.jpg", plain[:at] + bytes([kind]) + plain[at + 1:]
    yield "unsupported/12-bit.jpg", plain[:at + 3] + b"\x0c" + plain[at + 4:]


# Output

def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def opened(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def entry(data):
    out = dict(file=base64.b64encode(data).decode())
    try:
        plain = opened(data)
        out["plain"] = f"{plain.width} x {plain.height} {digest(plain.tobytes())}"
    except Exception:
        return out
    try:
        with Image.open(io.BytesIO(data)) as image:
            turned = ImageOps.exif_transpose(image).convert("RGB")
    except Exception:
        turned = plain
    return out | dict(turned=f"{turned.width} x {turned.height} {digest(turned.tobytes())}")


def main():
    warnings.simplefilter("ignore")
    cases = {}
    for generator in (orientations, broken):
        cases |= {name: entry(data) for name, data in generator()}
    stored = {}

    def pixels(data):
        """The pixels as a PNG, or the name of the case that has them already."""
        image = saved(opened(data), "PNG", optimize=True)
        same = stored.setdefault(image, name)
        return dict(pixels=base64.b64encode(image).decode()) if same == name else dict(pixels_of=same)

    cases |= {f"tiff/{name}.tif": entry(data) for name, data in tiffs()}
    for name, data in jpegs():
        cases[name] = dict(file=base64.b64encode(data).decode()) | pixels(data)
    for name, data, whole in damages():
        right = np.array(opened(whole), int)
        case = cases[name] = dict(file=base64.b64encode(data).decode()) | pixels(whole)
        try:
            case["wrong"] = int((np.abs(np.array(opened(data), int) - right).max(2) > 16).sum())
        except Exception:
            pass
    cases |= {name: dict(file=base64.b64encode(data).decode()) for name, data in unsupported()}
    versions = dict(pillow=PIL.__version__, libjpeg_turbo=features.version("libjpeg_turbo"), webp=features.version("webp"),
                    libtiff=features.version("libtiff"))
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
    OUT.write_text(f'{{"versions": {json.dumps(versions)},\n"cases": {{\n{lines}\n}}}}\n')
    print(f"{len(cases)} cases, {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
