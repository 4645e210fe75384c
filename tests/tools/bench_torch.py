#!/usr/bin/env python3
"""Times the same networks with the same weights in PyTorch, as `senet bench --json` does in this program.

    python tests/tools/bench_torch.py --device cuda:0 --folder FOLDER --size 224 --runs 20 --batches 1,32 NAME...

FOLDER has NAME.safetensors for each network. Eager and compiled, channels-last, in f32 (without TF32), TF32
and bf16. Prints a line of JSON for each.
"""

import argparse
import json
import statistics
import time

import timm
import torch
from safetensors.torch import load_file


def time_passes(network, x, runs, synchronize):
    times = []
    with torch.inference_mode():
        for index in range(runs + 5):
            synchronize()
            start = time.perf_counter()
            network(x).float().cpu()
            times.append((time.perf_counter() - start) * 1e3)
    return times[5:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--batches", default="1,32,256")
    parser.add_argument("networks", nargs="+")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    on_cuda = device.type == "cuda"
    synchronize = torch.cuda.synchronize if on_cuda else lambda: None
    for name in arguments.networks:
        weights = load_file(f"{arguments.folder}/{name}.safetensors")
        for precision in ["f32", "tf32", "bf16"] if on_cuda else ["f32"]:
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            network = timm.create_model(name).eval()
            network.load_state_dict(weights)
            network = network.to(device, dtype, memory_format=torch.channels_last)
            for batch in map(int, arguments.batches.split(",")):
                for engine in ["eager", "compiled", "compiled with CUDA graphs"]:
                    # For this shape alone, as a user with one shape would.
                    torch._dynamo.reset()
                    run = network
                    if engine == "compiled":
                        run = torch.compile(network, dynamic=False)
                    elif engine != "eager":
                        if not on_cuda or batch > 1:
                            continue
                        run = torch.compile(network, dynamic=False, mode="reduce-overhead")
                    x = torch.randn(batch, 3, arguments.size, arguments.size)
                    x = x.to(device, dtype, memory_format=torch.channels_last)
                    times = time_passes(run, x, arguments.runs, synchronize)
                    step = statistics.median(times)
                    row = {
                        "model": f"{name} ({engine} PyTorch)",
                        "precision": precision,
                        "infer_batch_size": batch,
                        "infer_step_time": step,
                        "infer_samples_per_sec": batch / step * 1e3,
                    }
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
