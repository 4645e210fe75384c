"""Times senet next to its peers: the same weights, the same input, the same threads, in turn.

    python -m venv venv && venv/bin/pip install -r benches/peers/requirements.txt
    cargo build --release && cargo build --release --manifest-path benches/peers/rust/Cargo.toml
    venv/bin/python benches/peers/peers.py --threads 2

Every round runs each engine in a process of its own, one after another, so that none spins while
another is timed and a noisy machine disturbs them alike. An engine whose logits differ from PyTorch's by
more than 1e-3 of the largest (2e-2 in bf16) is not timed. Prints a Markdown table of medians over all steps.

With `--precision bf16`, senet and PyTorch (autocast) compute in bf16 and OpenVINO as it comes, which is in bf16
where the CPU has instructions for it; the others stay in f32.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["legacy_seresnet50", "legacy_seresnext50_32x4d", "legacy_seresnext101_32x4d", "legacy_senet154"]
PYTHON_ENGINES = ["pytorch", "channels_last", "torch.compile", "onnxruntime", "openvino"]
RUST_ENGINES = ["rten", "tract"]
ENGINES = ["senet", *PYTHON_ENGINES, *RUST_ENGINES]
WARM_UP = 3
# Largest difference of a logit, relative to the largest logit.
ALLOWED = {"f32": 1e-3, "bf16": 2e-2}


def prepare(args: argparse.Namespace, name: str) -> None:
    """Writes the weights, the ONNX file, the input and the logits of PyTorch, once."""
    import torch

    sys.path.insert(0, str(ROOT / "tests/tools"))
    from make_golden import build, formula_images, load_formula_weights, write_verify_golden
    from safetensors.torch import save_file

    stem = files(args, name)
    if stem["logits"].exists():
        return
    model = build(name)
    load_formula_weights(model)
    if not stem["weights"].exists():
        save_file(model.state_dict(), stem["weights"])
    images = formula_images(args.batch_size, args.img_size, args.img_size)
    images.numpy().tofile(stem["input"])
    write_verify_golden(model, images, stem["golden"], {"model": name})
    model.float()
    with torch.no_grad():
        logits = model.eval()(images)
        torch.onnx.export(model, (images,), stem["onnx"], dynamo=True, external_data=False, verbose=False)
    stem["logits"].write_text(json.dumps(logits.flatten().tolist()))


def files(args: argparse.Namespace, name: str) -> dict[str, Path]:
    """Paths of everything that `prepare` writes."""
    args.workdir.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{args.batch_size}x{args.img_size}"
    return {
        "weights": args.workdir / f"{name}.safetensors",
        "onnx": args.workdir / f"{stem}.onnx",
        "input": args.workdir / f"{stem}.f32",
        "golden": args.workdir / f"{stem}.golden.safetensors",
        "logits": args.workdir / f"{stem}.json",
    }


def python_step(args: argparse.Namespace, engine: str, name: str):
    """A function that runs one forward pass and returns the logits, flat."""
    import numpy

    stem = files(args, name)
    shape = (args.batch_size, 3, args.img_size, args.img_size)
    images = numpy.fromfile(stem["input"], dtype=numpy.float32).reshape(shape)
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(stem["onnx"], options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: images}
        return lambda: session.run(None, feed)[0].ravel()
    if engine == "openvino":
        import openvino

        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": args.threads,
        }
        if args.precision == "f32":
            hints["INFERENCE_PRECISION_HINT"] = "f32"
        compiled = openvino.Core().compile_model(stem["onnx"], "CPU", hints)
        request = compiled.create_infer_request()
        return lambda: request.infer([images])[0].ravel()

    import torch

    sys.path.insert(0, str(ROOT / "tests/tools"))
    from make_golden import build
    from safetensors.torch import load_file

    torch.set_num_threads(args.threads)
    model = build(name)
    model.load_state_dict(load_file(stem["weights"]))
    model.eval()
    x = torch.from_numpy(images)
    if engine == "channels_last":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if engine == "torch.compile":
        import torch._inductor.config

        torch._inductor.config.freezing = True
        model = torch.compile(model)

    bf16 = args.precision == "bf16"

    def step():
        no_gradients = torch.inference_mode() if engine != "torch.compile" else torch.no_grad()
        with no_gradients, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(x).flatten().float().numpy()

    return step


def time_python(args: argparse.Namespace, engine: str, name: str) -> dict:
    """What a child process prints."""
    step = python_step(args, engine, name)
    for _ in range(WARM_UP):
        logits = step()
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        logits = step()
        times.append((time.perf_counter() - start) * 1e3)
    return {"step_times_ms": times, "logits": [float(value) for value in logits]}


def run(command: list, threads: int) -> dict | list:
    """Runs a command that prints JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{command[0]}: {lines[-1]}")
    return json.loads(done.stdout)


def senet_command(args: argparse.Namespace, name: str) -> list:
    """`senet bench` on the prepared weights."""
    command = [args.senet, "bench", name, "--weights", files(args, name)["weights"], "--json"]
    command += ["--batch-size", args.batch_size, "--img-size", args.img_size, "--precision", args.precision]
    return [*command, "--threads", args.threads, "--runs", args.steps]


def senet_difference(args: argparse.Namespace, name: str) -> float:
    """Largest difference to timm in f64, relative to the largest logit."""
    stem = files(args, name)
    command = [args.senet, "verify", name, "--weights", stem["weights"], "--golden", stem["golden"], "--json"]
    command += ["--precision", args.precision]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout)["rows"]
    scale = max(abs(value) for value in json.loads(stem["logits"].read_text()))
    return max(row["max_abs"] for row in rows if row["tensor"].startswith("logits")) / scale


def samples(args: argparse.Namespace, engine: str, name: str) -> tuple[list[float], list[float]]:
    """Milliseconds of each step, and the logits where the engine prints them."""
    if engine == "senet":
        return run(senet_command(args, name), args.threads)["step_times_ms"], []
    if engine in RUST_ENGINES:
        stem = files(args, name)
        shape = f"{args.batch_size}x3x{args.img_size}x{args.img_size}"
        command = [args.runner, engine, stem["onnx"], stem["input"], shape]
        report = run([*command, args.threads, WARM_UP, args.steps], args.threads)
    else:
        options = ["--batch-size", args.batch_size, "--img-size", args.img_size]
        options += ["--threads", args.threads, "--steps", args.steps, "--workdir", args.workdir]
        options += ["--precision", args.precision]
        command = [sys.executable, __file__, *options, "--models", name, "--child", engine]
        report = run(command, args.threads)
    return report["step_times_ms"], report["logits"]


def compare(args: argparse.Namespace, name: str) -> dict[str, list[float]]:
    """All samples of all engines for one model, in ms per image."""
    prepare(args, name)
    expected = json.loads(files(args, name)["logits"].read_text())
    scale = max(abs(value) for value in expected)
    times: dict[str, list[float]] = {engine: [] for engine in args.engines}
    for turn in range(args.rounds):
        for engine in list(times):
            try:
                steps, logits = samples(args, engine, name)
            except (RuntimeError, OSError) as error:
                print(f"{name}: {engine} left out: {error}", file=sys.stderr)
                del times[engine]
                continue
            if turn == 0:
                if engine == "senet":
                    difference = senet_difference(args, name)
                else:
                    difference = max(abs(a - b) for a, b in zip(logits, expected, strict=True)) / scale
                print(f"{name}: {engine} differs from PyTorch by {difference:.1e}", file=sys.stderr)
                if difference > ALLOWED[args.precision]:
                    del times[engine]
                    continue
            times[engine] += [step / args.batch_size for step in steps]
    return times


def cpu() -> str:
    """The processor's name and widest vectors."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    name = next((line.split(":")[1].strip() for line in text.splitlines() if "model name" in line), "")
    return name + (", AVX-512" if "avx512f" in text else ", AVX2" if "avx2" in text else "")


def table(results: dict[str, dict[str, list[float]]], engines: list[str]) -> str:
    """Rows of engines, columns of models: median (fastest to slowest), and senet's share of it."""
    lines = ["| ms per image | " + " | ".join(results) + " |", "| --- |" + " ---: |" * len(results)]
    for engine in engines:
        cells = []
        for times in results.values():
            steps = times.get(engine)
            if not steps:
                cells.append("–")
                continue
            middle = statistics.median(steps)
            cell = f"{middle:.1f} ({min(steps):.1f} to {max(steps):.1f})"
            if engine != "senet" and times.get("senet"):
                cell += f" **{statistics.median(times['senet']) / middle:.2f}**"
            cells.append(cell)
        lines.append(f"| {engine} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Reads the options and compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="f32", choices=ALLOWED)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of an engine in a round")
    parser.add_argument("--workdir", type=Path, default=ROOT / "target/peers")
    parser.add_argument("--senet", type=Path, default=ROOT / "target/release/senet")
    parser.add_argument("--runner", type=Path, default=ROOT / "benches/peers/rust/target/release/peers-rust")
    parser.add_argument("--json", type=Path, help="also write all samples here")
    parser.add_argument("--child", choices=PYTHON_ENGINES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(time_python(args, args.child, args.models[0])))
        return
    results = {name: compare(args, name) for name in args.models}
    print(table(results, args.engines))
    print(f"\n{cpu()}; {args.threads} threads, batch {args.batch_size}, {args.img_size} px, {args.precision};")
    print(f"{args.rounds} rounds of {args.steps} steps; bold: senet's median / the engine's")
    if args.json:
        args.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
