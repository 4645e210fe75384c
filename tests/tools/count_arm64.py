"""Counts the instructions of a forward pass on arm64, under QEMU: exact counts, which say nothing about time.

  export RUSTFLAGS='-C symbol-mangling-version=v0'     # with the kernels' names in the functions'
  .ci/arm64 cargo build --release --locked --target aarch64-unknown-linux-gnu
  SENET_TEST_FOLDER=. SENET_TEST_NETWORKS=legacy_seresnet50 \\
    cargo test --test library write_weights -- --ignored
  python3 tests/tools/count_arm64.py target/aarch64-unknown-linux-gnu/release/senet legacy_seresnet50.safetensors \\
    [--img-size 64] [--precision bf16]

One thread; the difference of a run with one pass and a run with three, without the measurement of the peak. Printed are millions of instructions, of
multiply-adds of f32, four values (vector) or one (scalar) at a time, and of products of bf16, by kernel of
src/kernels; what is below a thousandth of all is added up as the rest.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

PASSES = 2
TOOLS = Path(__file__).resolve().parent


def kernel(symbol: str) -> str:
    """Module and type of the kernel that a function runs, as in `micro Multiply`; empty for other functions."""
    _, run, names = symbol.partition("4Simd3run")
    path = []
    while run and (match := re.search(r"(?<!\d)\d+(?=[A-Za-z_])", names)):
        end = match.end() + int(match[0])
        name, names = names[match.end() : end], names[end:]
        if name not in ("without_bf16", "with_bf16"):
            path.append(name)
        if name[0].isupper():
            return " ".join(path)
    return ""


def count(plugin: Path, program: str, weights: str, options: list[str], runs: int) -> Counter:
    with tempfile.NamedTemporaryFile() as out:
        command = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-plugin", f"{plugin},out={out.name}", program]
        command += ["bench", Path(weights).stem, "--weights", weights, "--threads", "1", "--runs", str(runs)]
        command += ["--offline", "--quiet", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        counts = Counter()
        for line in Path(out.name).read_text().splitlines():
            symbol, *values = line.split("\t")
            # The peak is measured for some time, not for some passes.
            if "4peak" not in symbol:
                for column, value in enumerate(values):
                    counts[kernel(symbol), column] += int(value)
        return counts


def main(program: str, weights: str, *options: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder, "count_instructions.so")
        source = TOOLS / "count_instructions.c"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", plugin, source], check=True)
        one, more = (count(plugin, program, weights, list(options), runs) for runs in (1, 1 + PASSES))
    per_pass = {key: (more[key] - one[key]) / PASSES / 1e6 for key in more}
    names = {name for name, _ in per_pass}
    total = [sum(per_pass[name, column] for name in names) for column in range(4)]
    large = [name for name in names if name and per_pass[name, 0] >= total[0] / 1000]
    rows = [(name, [per_pass[name, column] for column in range(4)]) for name in large]
    rows.sort(key=lambda row: -row[1][0])
    rest = [total[column] - sum(values[column] for _, values in rows) for column in range(4)]
    print("| kernel | instructions | vector FMA | scalar FMA | bf16 |\n|---|--:|--:|--:|--:|")
    for name, values in [*rows, ("the rest", rest), ("all", total)]:
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
