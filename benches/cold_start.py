"""Times the way of an image from the start of a process to the printed answer, with the files in memory.

    cargo build --release
    venv/bin/python benches/cold_start.py target/release/senet --weights FOLDER

Each run is a process of its own: start, weights, JPEG of 1200 x 800 pixels, preprocessing, network, answers. `FOLDER` holds
`MODEL.safetensors` and, for ONNX Runtime (from Python, with Pillow and NumPy), `MODEL-1x224.onnx`, as in the
working folder of `benches/peers/peers.py`; without it senet takes its weights from the cache. The processes
take turns, each with a run before the timed one. Prints a Markdown table: median (fastest to slowest), and the largest memory of a process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
from download import shown
from PIL import Image

MODELS = "legacy_seresnet50", "legacy_senet154"

ONNXRUNTIME = """
import sys
import numpy, onnxruntime
from PIL import Image
image = Image.open(sys.argv[2]).convert("RGB")
scale = 256 / min(image.size)
image = image.resize([round(edge * scale) for edge in image.size], Image.Resampling.BILINEAR)
left, top = ((edge - 224) // 2 for edge in image.size)
x = numpy.asarray(image.crop((left, top, left + 224, top + 224)), numpy.float32) / 255
x = (x - numpy.float32([0.485, 0.456, 0.406])) / numpy.float32([0.229, 0.224, 0.225])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
(logits,) = session.run(None, {session.get_inputs()[0].name: x.transpose(2, 0, 1)[None].copy()})
for index in numpy.argsort(-logits[0])[:5]:
    print(index, logits[0][index])
"""


def write_image(path: Path) -> None:
    """Waves and noise: neither the easiest to decode nor the hardest."""
    y, x = numpy.mgrid[:800, :1200]
    waves = [80 * numpy.sin(x / 37 + y / 91), 80 * numpy.cos(x / 53 - y / 29), (x + y) / 20]
    noise = numpy.random.default_rng(0).normal(127, 12, (800, 1200, 3))
    pixels = (numpy.stack(waves, -1) + noise).clip(0, 255).astype("uint8")
    Image.fromarray(pixels).save(path, quality=90)


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and MiB of memory that a command takes."""
    # A child counts the memory of the process that it was forked from, as this large one.
    launcher = [sys.executable, "-S", "-E", "-c", LAUNCH, *command]
    seconds, memory = subprocess.run(launcher, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(memory)


LAUNCH = """
import os, sys, time
start = time.perf_counter()
null = os.open(os.devnull, os.O_WRONLY)
redirect = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=redirect)
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - start
assert status == 0, sys.argv[1:]
print(seconds, usage.ru_maxrss / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("senet", type=Path, nargs="+", help="programs to time")
    parser.add_argument("--weights", type=Path, help="folder with MODEL.safetensors and MODEL-1x224.onnx")
    parser.add_argument("--model", action="append", help=f"may be repeated [default: {', '.join(MODELS)}]")
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        photo = Path(work) / "photo.jpg"
        write_image(photo)
        print("| model | program | s | peak MiB |\n| --- | --- | ---: | ---: |")
        for model in arguments.model or MODELS:
            commands = {}
            for senet in arguments.senet:
                command = [str(senet.resolve()), "classify", str(photo), "-m", model, "--threads", str(arguments.threads)]
                if arguments.weights:
                    command += ["--weights", str(arguments.weights / f"{model}.safetensors")]
                commands[str(senet)] = command
            for onnx in arguments.weights.glob(f"{model}-1x224.onnx") if arguments.weights else ():
                rest = [str(onnx), str(photo), str(arguments.threads)]
                commands["onnxruntime"] = [sys.executable, "-c", ONNXRUNTIME, *rest]
            figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
            for _ in range(arguments.runs):
                for name, command in commands.items():
                    # A virtual machine's host takes memory back that lies idle; a run before each brings it.
                    measure(command)
                    figures[name].append(measure(command))
            for name, rows in figures.items():
                seconds, memory = (list(column) for column in zip(*rows))
                print(f"| {model} | {name} | {shown(seconds, 3)} | {max(memory):.0f} |", flush=True)


if __name__ == "__main__":
    main()
