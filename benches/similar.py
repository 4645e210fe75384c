"""Near-duplicates and neighbors in a file of features, through the program and through FAISS.

    python benches/similar.py target/release/senet duplicates vectors.safetensors --rows 127000
    python benches/similar.py target/release/senet nearest million.safetensors --rows 1000000

Writes FILE unless it exists: the features of one picture by `senet embed`, and pseudorandom vectors of as many values,
of which every hundredth is nearly a copy of the one before it. Then it times

- `duplicates`: `senet similar --duplicates`, whose groups must be those pairs, and FAISS's
  IndexFlatIP.range_search of the first vectors among all;
- `nearest`: `senet similar` with that picture, in FILE and in a file of this picture alone, whose difference is the
  search; and FAISS's IndexFlatIP.search of its features. Both must find the same.

FILE is in the system's cache by then. FAISS needs PyPI's faiss-cpu; without it, only senet is timed.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

MODEL = "legacy_seresnet50"
PICTURE = str(Path(__file__).parents[1] / "tests/data/pictures/444.jpg")
K = 10


def embed(senet, weights, path):
    subprocess.run([senet, "embed", PICTURE, "-m", MODEL, "-o", path, "-q", *weights], check=True)


def parts(path):
    """The header of a file, and its features, mapped."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    info = header["features"]
    offset = 8 + length + info["data_offsets"][0]
    return header, np.memmap(path, np.float32, "r", offset, tuple(info["shape"]))


def write(path, seed, rows):
    """A file as `senet embed` writes it, block by block."""
    header, first = parts(seed)
    width = first.shape[1]
    header["__metadata__"]["paths"] = json.dumps([f"{row:07}.jpg" for row in range(rows)])
    header["features"] |= {"shape": [rows, width], "data_offsets": [0, rows * width * 4]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(1)
    with open(path + ".part", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, rows, 1000):
            block = random.standard_normal((min(1000, rows - start), width), dtype=np.float32)
            copies = block[99::100]
            copies[:] = block[98::100][: len(copies)] + 0.1 * copies
            if start == 0:
                block[0] = first[0]
            block.tofile(file)
    os.rename(path + ".part", path)


def own_memory(process, most):
    """Watches the memory of a program that is not mapped from a file, in kB."""
    while True:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return
        if "RssAnon:" not in status:
            return
        most[0] = max(most[0], int(status.split("RssAnon:")[1].split()[0]))
        time.sleep(0.02)


def run(command):
    """Seconds, rows of JSON, and a text with the peak memory of a program."""
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--json", "-q"], stdout=subprocess.PIPE)
    own = [0]
    watch = threading.Thread(target=own_memory, args=(process, own))
    watch.start()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    assert status == 0, command
    watch.join()
    rows = [json.loads(line) for line in output.splitlines()]
    memory = f"peak {usage.ru_maxrss / 2**20:.2f} GiB with the mapped file, {own[0] / 2**20:.2f} GiB without"
    return seconds, rows, memory


def faiss_index(faiss, vectors):
    """The vectors divided by their lengths, copied block by block."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), 100_000):
        block = np.array(vectors[start : start + 100_000])
        faiss.normalize_L2(block)
        index.add(block)
    return index


def normalized(faiss, vectors):
    vectors = np.array(vectors)
    faiss.normalize_L2(vectors)
    return vectors


def duplicates(arguments, faiss):
    _, vectors = parts(arguments.file)
    rows, width = vectors.shape
    if not arguments.no_senet:
        command = [arguments.senet, "similar", "--in", arguments.file, "--duplicates"]
        seconds, groups, memory = run([*command, "--threads", str(arguments.threads)])
        expected = [[f"{row - 1:07}.jpg", f"{row:07}.jpg"] for row in range(99, rows, 100)]
        assert [[image["path"] for image in group["images"]] for group in groups] == expected
        assert all(pair["similarity"] >= 0.97 for group in groups for pair in group["pairs"])
        speed = rows * (rows - 1) * width / seconds / 1e9
        print(f"senet: all pairs of {rows} vectors in {seconds:.1f} s, {speed:.0f} GFLOP/s, {memory}")
    if faiss:
        index = faiss_index(faiss, vectors)
        queries = normalized(faiss, vectors[: arguments.queries])
        start = time.perf_counter()
        limits, _, _ = index.range_search(queries, 0.97)
        seconds = time.perf_counter() - start
        assert limits[-1] == len(queries) + 2 * (len(queries) // 100)
        speed = 2 * len(queries) * rows * width / seconds / 1e9
        print(
            f"FAISS {faiss.__version__}: {len(queries)} of {rows} vectors in {seconds:.1f} s, {speed:.0f} GFLOP/s; "
            f"all of them would take {seconds * rows / len(queries):.0f} s"
        )


def nearest(arguments, faiss, seed, weights):
    _, vectors = parts(arguments.file)
    rows, width = vectors.shape
    size = rows * width * 4 / 1e9
    if not arguments.no_senet:
        times = []
        options = ["-k", str(K), "--threads", str(arguments.threads), *weights]
        for _ in range(arguments.runs):
            search = [arguments.senet, "similar", PICTURE, *options, "--in"]
            alone, _, _ = run([*search, seed])
            seconds, found, memory = run([*search, arguments.file])
            times.append((seconds - alone, seconds))
        seconds, whole = map(statistics.median, zip(*times))
        ours = [int(neighbor["path"][:-4]) for neighbor in found[0]["neighbors"]]
        print(
            f"senet: a query in {rows} vectors {seconds:.3f} s, {size / seconds:.1f} GB/s; "
            f"the command {whole:.3f} s, {memory}"
        )
    if faiss:
        index = faiss_index(faiss, vectors)
        query = normalized(faiss, vectors[:1])
        times = []
        for _ in range(arguments.runs):
            start = time.perf_counter()
            _, theirs = index.search(query, K)
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times)
        print(f"FAISS {faiss.__version__}: a query in {rows} vectors {seconds:.3f} s, {size / seconds:.1f} GB/s")
        assert arguments.no_senet or ours == theirs[0].tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("senet")
    parser.add_argument("task", choices=["duplicates", "nearest"])
    parser.add_argument("file")
    parser.add_argument("--rows", type=int, default=127_000)
    parser.add_argument("--weights", help=f"weights of {MODEL}, if they are not to be downloaded")
    parser.add_argument("--queries", type=int, default=4000, help="vectors whose duplicates FAISS looks for")
    parser.add_argument("--runs", type=int, default=5, help="queries")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-senet", action="store_true", help="time FAISS alone")
    parser.add_argument("--no-faiss", action="store_true", help="time senet alone")
    arguments = parser.parse_args()
    weights = ["--weights", arguments.weights] if arguments.weights else []
    try:
        import faiss

        faiss.omp_set_num_threads(arguments.threads)
    except ImportError:
        faiss = None
    if arguments.no_faiss:
        faiss = None
    with tempfile.TemporaryDirectory() as folder:
        seed = str(Path(folder) / "seed.safetensors")
        embed(arguments.senet, weights, seed)
        if not os.path.exists(arguments.file):
            write(arguments.file, seed, arguments.rows)
        if arguments.task == "duplicates":
            duplicates(arguments, faiss)
        else:
            nearest(arguments, faiss, seed, weights)


if __name__ == "__main__":
    main()
