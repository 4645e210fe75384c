"""Times the features of photographs with `senet embed`, next to `senet bench` and `senet eval` and to timm.

    pip install torch==2.15.0 timm==1.0.31 safetensors numpy pillow scikit-learn
    python tests/tools/time_embed.py target/release/senet

Windows of 500 x 375 pixels are cut from the two photographs that scikit-learn has, and saved as JPEG. The network is
legacy_seresnet50 at 224 pixels, in f32, with weights by the formula of make_golden.py; all have the same number of
threads. senet's commands are timed from start to end. timm's time begins when the model is loaded; Pillow decodes in the
same process (the network waits for each batch) or in the workers of a DataLoader, and maps have timm's usual layout or
`channels_last`. All take turns. The features differ by as much as the two JPEG decoders; embed_timm.py compares those of
PNG files.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from make_golden import load_formula_weights
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

ARCHITECTURE = "legacy_seresnet50"
BATCH = 8


def write_photographs(folder, count):
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    random = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for number in range(count):
        source = sources[number % len(sources)]
        left, top = random.integers(0, source.width - 500), random.integers(0, source.height - 375)
        window = source.crop((left, top, left + 500, top + 375))
        window.save(folder / f"{number:04}.jpg", quality=90)


class Photographs(torch.utils.data.Dataset):
    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


@torch.inference_mode()
def timm_features(model, photographs, workers, channels_last):
    form = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=form)
    started = time.perf_counter()
    loader = torch.utils.data.DataLoader(photographs, batch_size=BATCH, num_workers=workers)
    rows = [model.forward_head(model.forward_features(batch.contiguous(memory_format=form)), pre_logits=True)
            for batch in loader]
    seconds = time.perf_counter() - started
    return seconds, torch.cat(rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("senet", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = timm.create_model(ARCHITECTURE).eval()
    load_formula_weights(model)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        state = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        # For `eval`, a folder of one class.
        write_photographs(folder / "photographs" / "7", options.images)
        paths = sorted((folder / "photographs" / "7").iterdir())
        photographs = Photographs(paths, transform)

        def senet(*arguments):
            weights = ["--weights", folder / "weights.safetensors", "--threads", options.threads]
            command = [options.senet.resolve(), *arguments, *weights, "--batch-size", BATCH]
            started = time.perf_counter()
            done = subprocess.run([*map(str, command)], cwd=folder, check=True, capture_output=True, text=True)
            return time.perf_counter() - started, done.stdout

        def bench():
            _, output = senet("bench", ARCHITECTURE, "--json", "--runs", 5)
            return options.images / BATCH * statistics.median(json.loads(output)["step_times_ms"]) / 1000

        out = folder / "features.safetensors"
        runs = {
            "senet bench: the network alone": bench,
            "senet eval": lambda: senet("eval", "photographs", "-m", ARCHITECTURE, "-q")[0],
            "senet embed": lambda: senet("embed", "photographs", "-m", ARCHITECTURE, "-q", "--force", "-o", out)[0],
            "timm": lambda: timm_features(model, photographs, 0, False)[0],
            "timm, channels_last": lambda: timm_features(model, photographs, 0, True)[0],
            "timm, DataLoader": lambda: timm_features(model, photographs, options.threads, False)[0],
            "timm, DataLoader, channels_last": lambda: timm_features(model, photographs, options.threads, True)[0],
        }
        seconds = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, run in runs.items():
                seconds[name].append(run())
        for name, times in seconds.items():
            rates = sorted(options.images / time for time in times)
            print(f"{name:34} {statistics.median(rates):6.1f} images/s ({rates[0]:.1f} to {rates[-1]:.1f})")

        with safe_open(out, "pt") as file:
            found = file.get_tensor("features")
        expected = timm_features(model, photographs, 0, False)[1]
        difference = (found - expected).abs().max() / expected.abs().max()
        print(f"features differ by {difference:.1e} of the largest")


if __name__ == "__main__":
    main()
