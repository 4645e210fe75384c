"""Writes small Caffe weights files, encoded by hand, into tests/data/weights, and what they hold, caffe.json.

    python tests/tools/make_caffe.py

Needs nothing but Python. The numbers of the fields are those of src/caffe/proto/caffe.proto in BVLC/caffe. All
values are multiples of 1/8 below 4.
"""

import json
import math
import pathlib
import struct

DATA = pathlib.Path(__file__).parent.parent / "data" / "weights"


def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def chunk(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def doubles(values):
    return struct.pack(f"<{len(values)}d", *values)


def values(count, seed):
    return [((i * 7 + seed * 13) % 61 - 30) / 8 for i in range(count)]


def shape(sides, packed=True):
    if packed:
        return chunk(7, chunk(1, b"".join(map(varint, sides))))
    return chunk(7, b"".join(number(1, side) for side in sides))


def legacy(sides):
    """num, channels, height, width."""
    return b"".join(number(i + 1, side) for i, side in enumerate(sides))


def packed(data):
    return chunk(5, floats(data))


def pieces(data):
    """Two packed runs and single values: what a writer may do, and a parser has to join."""
    third = len(data) // 3
    single = b"".join(varint(5 << 3 | 5) + floats([v]) for v in data[2 * third:])
    return chunk(5, floats(data[:third])) + chunk(6, floats(data)) + chunk(5, floats(data[third:2 * third])) + single


def loose(data):
    return b"".join(varint(5 << 3 | 5) + floats([v]) for v in data)


def precise(data):
    return chunk(8, doubles(data))


def layer(name, kind, bottoms, tops, blobs=(), extra=b""):
    """LayerParameter: phase and param between what is read are skipped."""
    return chunk(100, chunk(1, name) + chunk(2, kind) + b"".join(chunk(3, b) for b in bottoms)
                 + b"".join(chunk(4, t) for t in tops) + chunk(6, b"\x1d\0\0\x80\x3f") + number(10, 1) + extra
                 + b"".join(chunk(7, blob) for blob in blobs))


def old_layer(name, kind, bottoms, tops, blobs=()):
    """V1LayerParameter: bottom, top, name, type, blobs, blobs_lr."""
    return chunk(2, b"".join(chunk(2, b) for b in bottoms) + b"".join(chunk(3, t) for t in tops) + chunk(4, name)
                 + number(5, kind) + b"".join(chunk(6, blob) for blob in blobs) + varint(7 << 3 | 5) + floats([1]))


def tensor(sides, data, dtype="float32"):
    return {"dtype": dtype, "shape": list(sides), "values": data}


def new_form():
    conv, bias = values(24, 1), values(4, 2)
    mean, var, factor = values(4, 3), [abs(v) for v in values(4, 4)], 2.0
    gain, shift, unseen = values(4, 5), values(4, 6), values(3, 7)
    wide, ends, slope = values(12, 8), values(3, 9), values(4, 10)
    content = chunk(1, "net") + chunk(3, "data") + number(4, 1) + chunk(8, number(1, 1))
    content += layer("data", "Input", [], ["data"], extra=chunk(143, b"\x0a\x02\x08\x01"))
    content += layer("a/conv", "Convolution", ["data"], ["a"], [shape((4, 2, 1, 3)) + packed(conv),
                                                               shape((4,)) + loose(bias)])
    content += layer("a/conv/bn", "BatchNorm", ["a"], ["a"], [shape((4,)) + packed([v * factor for v in mean]),
                                                              shape((4,)) + pieces([v * factor for v in var]),
                                                              shape((1,)) + packed([factor])])
    content += layer("a/conv/bn/scale", "Scale", ["a"], ["a"], [shape((4,), packed=False) + packed(gain),
                                                                shape((4,)) + pieces(shift)])
    content += layer("a/relu", "ReLU", ["a"], ["a"])
    # Not after a norm any more, and the product of two blobs.
    content += layer("alone", "Scale", ["a"], ["a"], [shape((4,)) + packed(gain)])
    content += layer("product", "Scale", ["a", "b"], ["c"])
    content += layer("unseen", "BatchNorm", ["a"], ["u"], [legacy((1, 1, 1, 3)) + packed(unseen)] * 2
                     + [legacy((1, 1, 1, 1)) + packed([0.0])])
    content += layer("slopes", "PReLU", ["u"], ["u"], [shape((4,)) + packed(slope)])
    content += layer("ends", "InnerProduct", ["u"], ["e"], [shape((3, 4)) + precise(wide), shape((3,)) + precise(ends)])
    f64 = "float64"
    return content, {
        "a/conv.weight": tensor((4, 2, 1, 3), conv),
        "a/conv.bias": tensor((4,), bias, f64),  # in pieces, so copied
        "a/conv/bn.running_mean": tensor((4,), mean, f64),
        "a/conv/bn.running_var": tensor((4,), var, f64),
        "a/conv/bn.weight": tensor((4,), gain),
        "a/conv/bn.bias": tensor((4,), shift, f64),
        "alone.weight": tensor((4,), gain),
        "unseen.running_mean": tensor((3,), [0.0] * 3, f64),
        "unseen.running_var": tensor((3,), [0.0] * 3, f64),
        "slopes.blob0": tensor((4,), slope),
        "ends.weight": tensor((3, 4), wide, f64),
        "ends.bias": tensor((3,), ends, f64),
    }


def old_form():
    conv, bias, wide, ends = values(8, 11), values(2, 12), values(6, 13), values(3, 14)
    content = chunk(1, "old net") + old_layer("conv", 4, ["data"], ["conv"], [
        legacy((2, 1, 2, 2)) + packed(conv), legacy((1, 1, 1, 2)) + packed(bias)])
    content += old_layer("relu", 18, ["conv"], ["conv"])
    content += old_layer("fc", 14, ["conv"], ["fc"], [legacy((1, 1, 3, 2)) + packed(wide),
                                                      legacy((1, 1, 1, 3)) + packed(ends)])
    return content, {"conv.weight": tensor((2, 1, 2, 2), conv), "conv.bias": tensor((2,), bias),
                     "fc.weight": tensor((3, 2), wide), "fc.bias": tensor((3,), ends)}


def main():
    expected = {}
    for name, make in {"new.caffemodel": new_form, "old.caffemodel": old_form}.items():
        content, tensors = make()
        assert all(math.prod(t["shape"]) == len(t["values"]) for t in tensors.values())
        (DATA / name).write_bytes(content)
        expected[name] = {"tensors": tensors, "files": [name]}
    (DATA / "caffe.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
