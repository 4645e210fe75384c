"""What `senet train` writes opens in timm with the same logits.

    pip install torch==2.15.0 timm==1.0.31 safetensors numpy pillow
    python tests/tools/train_timm.py target/release/senet
    python tests/tools/train_timm.py target/release/senet --time 400

The weights come from the formula of make_golden.py, in several kinds of files; one architecture for each scheme of names
and each kind of stem and head. timm loads DIR strictly, with its own preprocessing.

`--time N` times the features of N photographs of 256 pixels (Fashion-MNIST of Debian's dataset-fashion-mnist, enlarged) in
ten classes with seresnet50 at 224 pixels, in both programs on the same two threads; timm's model in batches of 8 and of 32.
For the time of learning, see train_sklearn.py.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from make_golden import load_formula_weights
from PIL import Image
from safetensors.torch import save_file

# Architecture, input channels, how the weights are stored.
CASES = [
    ("seresnet18", 3, "safetensors"),
    ("legacy_seresnet18", 3, "pth"),
    ("legacy_seresnet18", 1, "safetensors"),
    ("legacy_seresnext26_32x4d", 3, "wrapped"),
    ("seresnext26t_32x4d", 3, "half"),
    ("seresnext26ts", 3, "safetensors"),
    ("seresnet33ts", 3, "bfloat16"),
    ("skresnet18", 3, "safetensors"),
    ("seresnetaa50d", 3, "safetensors"),
    ("resnetrs50", 3, "safetensors"),
    ("regnety_002", 3, "safetensors"),
    ("mobilenetv3_small_050", 3, "pth"),
    ("efficientnet_b0", 3, "safetensors"),
    ("tf_efficientnetv2_b0", 3, "half"),
]
CLASSES = ["a_ring", "stripes 2", "stripes, 10"]
SIDE = 64
# Largest difference of a logit, relative to the largest logit.
ALLOWED = 1e-4


def write_images(folder, numbers):
    """Rings, and stripes of two directions, in colours that differ."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
    for label, (name, way) in enumerate(zip(CLASSES, (np.hypot(x, y), x, y))):
        Path(folder, name).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            random = np.random.default_rng(1000 * label + number)
            bright = 0.5 + 0.5 * np.sin(way * random.uniform(0.3, 0.9) + random.uniform(0, 6))
            colour = random.uniform(0.4, 1, 3)
            pixels = 255 * np.clip(bright[:, :, None] * colour + random.uniform(-0.1, 0.1, (SIDE, SIDE, 3)), 0, 1)
            Image.fromarray(pixels.astype(np.uint8)).save(Path(folder, name, f"{number:03}.png"))


def save_weights(model, kind, path):
    """Stores the model's weights in one of the ways that people have them; returns the file."""
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if kind in ("half", "bfloat16"):
        dtype = getattr(torch, kind)
        state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    if kind in ("pth", "wrapped"):
        prefix = "module.model." if kind == "wrapped" else ""
        path = path.with_suffix(".pth")
        torch.save({"state_dict": {prefix + name: value for name, value in state.items()}}, path)
    else:
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    return path


def run(senet, *arguments):
    done = subprocess.run([senet, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments}: exit {done.returncode}\n{done.stderr}")
    return done


def check(senet, folder, architecture, channels, kind):
    """The largest difference of a logit, relative to the largest."""
    own = Path(folder, f"{architecture}-{channels}-{kind}")
    own.mkdir()
    base = timm.create_model(architecture, in_chans=channels)
    load_formula_weights(base)
    file = save_weights(base, kind, own / "base")
    model = [architecture, "--weights", file]
    if channels != 3:
        file.rename(own / "model.safetensors")
        cfg = {"input_size": [channels, SIDE, SIDE], "mean": [0.5], "std": [0.25]}
        config = {"architecture": architecture, "model_args": {"in_chans": channels}, "pretrained_cfg": cfg}
        Path(own, "config.json").write_text(json.dumps(config))
        model = [own]
    out = own / "out"
    run(senet, "train", Path(folder, "train"), "-m", *model, "-o", out, "--img-size", SIDE, "-q", "--strength", "0.01,1")
    answers = run(senet, "classify", Path(folder, "test"), "-m", out, "-q", "--json", "-k", len(CLASSES))

    learned = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    assert learned.pretrained_cfg["label_names"] == sorted(CLASSES), learned.pretrained_cfg["label_names"]
    data = timm.data.resolve_model_data_config(learned)
    transform = timm.data.create_transform(**data)
    largest, difference, right = 0.0, 0.0, 0
    for line in answers.stdout.splitlines():
        answer = json.loads(line)
        image = Image.open(answer["path"]).convert("L" if channels == 1 else "RGB")
        with torch.no_grad():
            logits = learned(transform(image).unsqueeze(0))[0]
        for prediction in answer["predictions"]:
            expected = logits[prediction["index"]].item()
            largest = max(largest, abs(expected))
            difference = max(difference, abs(expected - prediction["logit"]))
        right += answer["predictions"][0]["label"] == Path(answer["path"]).parent.name
    images = len(answers.stdout.splitlines())
    print(f"{architecture:26} {channels} {kind:12} {difference / largest:.1e} of the largest logit, {right} of {images} right")
    return difference / largest


def photographs(folder, images):
    """The first images of Fashion-MNIST as JPEG files of 256 pixels, in class folders."""
    from fashion_pictures import write_images as write_fashion

    small = Path(folder, "small")
    write_fashion(small)
    numbered = sorted(path for path in small.glob("*/*.png"))
    numbered = sorted(numbered, key=lambda path: path.stem)[:images]
    for path in numbered:
        place = Path(folder, "photographs", path.parent.name, path.stem + ".jpg")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").resize((256, 256), Image.BICUBIC).save(place, quality=90)
    return Path(folder, "photographs")


def time_features(senet, folder, images):
    """Seconds that both programs take for the features of the same images: senet's own note, and a loop in Python."""
    model = timm.create_model("seresnet50")
    load_formula_weights(model)
    file = save_weights(model, "safetensors", Path(folder, "seresnet50"))
    data = photographs(folder, images)
    options = ["-m", "seresnet50", "--weights", file, "-o", Path(folder, "timed"), "--threads", 2, "--force"]
    kept = Path(folder, "features")
    started = time.perf_counter()
    done = run(senet, "train", data, *options, "--img-size", 224, "--features", kept, "--strength", 1)
    whole = time.perf_counter() - started
    notes = [line for line in done.stderr.splitlines() if "features of" in line or "classifiers" in line]
    print(f"senet train: {whole:.1f} s in all; {'; '.join(notes)}")
    own = float(next(line for line in notes if "features of" in line).split(" in ")[1].split(" ")[0])

    config = timm.data.resolve_data_config({"input_size": (3, 224, 224)}, model=model)
    model.eval()
    for size in (8, 32):
        images = timm.data.ImageDataset(str(data), transform=timm.data.create_transform(**config))
        started = time.perf_counter()
        rows = []
        with torch.no_grad():
            for batch, _ in torch.utils.data.DataLoader(images, batch_size=size):
                rows.append(model.forward_head(model.forward_features(batch), pre_logits=True))
        count = len(torch.cat(rows))
        python = time.perf_counter() - started
        print(f"features of {count} images: senet {own:.1f} s, timm in batches of {size} {python:.1f} s, "
              f"{own / python:.2f} of it", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("senet", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--time", type=int, metavar="N")
    arguments = parser.parse_args()
    # No hub is asked.
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.time:
            time_features(arguments.senet, folder, arguments.time)
            return
        write_images(Path(folder, "train"), range(8))
        write_images(Path(folder, "test"), range(20, 23))
        worst = max(check(arguments.senet, folder, *case) for case in CASES)
        if worst > ALLOWED:
            sys.exit(f"a logit differs by {worst:.1e} of the largest, and {ALLOWED:.1e} is allowed")


if __name__ == "__main__":
    main()
