"""Near-duplicates and neighbours through the program, and FAISS on the same vectors.

Writes FILE with N pseudorandom vectors of 2,048 values, of which every hundredth is nearly a copy of the one
before it, unless it exists; then times

- `senet similar --duplicates`, whose groups must be these pairs, with the most memory that it had;
- FAISS, if it is installed: IndexFlatIP.range_search of the first vectors among all of them.

    python benches/similar.py target/release/senet vectors.safetensors --rows 127000
"""

import argparse
import json
import os
import subprocess
import time

import numpy as np

WIDTH = 2048
HEADER = {
    "senet_features": "1",
    "model": "demo",
    "weights": "0" * 64,
    "precision": "f32",
    "input": json.dumps({"size": [28, 28], "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]}),
    "exif": "true",
    "scale_16bit": "false",
    "layer": "pooled",
    "views": "one",
    "l2": "false",
    "dtype": "f32",
    "shape": f"[{WIDTH}]",
}


def write(path, rows):
    """A file as `senet embed` writes it, block by block."""
    size = rows * WIDTH * 4
    paths = json.dumps([f"{row:07}.jpg" for row in range(rows)])
    header = {
        "__metadata__": HEADER | {"paths": paths},
        "features": {"dtype": "F32", "shape": [rows, WIDTH], "data_offsets": [0, size]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(1)
    with open(path + ".part", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, rows, 1000):
            block = random.standard_normal((min(1000, rows - start), WIDTH), dtype=np.float32)
            copies = block[99::100]
            copies[:] = block[98::100][: len(copies)] + 0.1 * copies
            block.tofile(file)
    os.rename(path + ".part", path)


def run(command):
    """Seconds, output and peak memory in bytes of a program."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - start, output, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("senet")
    parser.add_argument("file")
    parser.add_argument("--rows", type=int, default=127_000)
    parser.add_argument("--queries", type=int, default=4000, help="vectors that FAISS looks for")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer-only", action="store_true")
    arguments = parser.parse_args()
    rows, path = arguments.rows, arguments.file
    if not os.path.exists(path):
        write(path, rows)
    if not arguments.peer_only:
        seconds, output, memory = run(
            [arguments.senet, "similar", "--in", path, "--duplicates", "--json", "--threads", str(arguments.threads)]
        )
        groups = [json.loads(line) for line in output.splitlines()]
        expected = [[f"{row - 1:07}.jpg", f"{row:07}.jpg"] for row in range(99, rows, 100)]
        assert [[image["path"] for image in group["images"]] for group in groups] == expected
        speed = rows * (rows - 1) * WIDTH / seconds / 1e9
        print(f"senet: {rows} vectors, all pairs in {seconds:.1f} s, {speed:.0f} GFLOP/s, {memory / 2**30:.2f} GiB")
    try:
        import faiss
    except ImportError:
        return
    faiss.omp_set_num_threads(arguments.threads)
    with open(path, "rb") as file:
        offset = 8 + int.from_bytes(file.read(8), "little")
    vectors = np.fromfile(path, dtype=np.float32, offset=offset).reshape(rows, WIDTH)
    faiss.normalize_L2(vectors)
    index = faiss.IndexFlatIP(WIDTH)
    index.add(vectors)
    queries = vectors[: arguments.queries]
    start = time.perf_counter()
    limits, _, _ = index.range_search(queries, 0.97)
    seconds = time.perf_counter() - start
    assert limits[-1] == len(queries) + 2 * (len(queries) // 100)
    speed = 2 * len(queries) * rows * WIDTH / seconds / 1e9
    print(
        f"FAISS {faiss.__version__}: {len(queries)} of {rows} vectors in {seconds:.1f} s, {speed:.0f} GFLOP/s; "
        f"all of them take {seconds * rows / len(queries):.0f} s"
    )


if __name__ == "__main__":
    main()
