"""Compares `senet train`'s classifiers with scikit-learn's on the same features.

    pip install scikit-learn safetensors numpy pillow
    cargo bench --no-run --bench train     # prints the path of a program
    python tests/tools/train_sklearn.py target/release/senet target/release/deps/train-0123456789abcdef [NAME ...]

For each data set, both choose the best of the same strengths by the same folds, and their accuracies may differ
by 0.3 points. scikit-learn gets a tolerance of 1e-7: with the usual one, fits of large C may end early and be worse. Both fit all images with one strength, and their coefficients may differ by 1e-3. The data sets:

    digits      scikit-learn's digits as images of 8 x 8 pixels: 1,797, 10 classes
    fashion     4,000 images of Fashion-MNIST, 10 classes
    pixels      the pixels of 2,000 of these as features
    many        a synthetic one, 200 classes of 3 to 60 images, 256 features
    two         a synthetic one, two classes of very different size
    time        5,000 images of 2,048 synthetic features, 10 classes, to compare the times

`digits` and `fashion` are learned by `senet train` with the built-in network, and the features are those that it keeps; the
others are given to the bench, which learns as `senet train` does. `doubts` swaps 3 % of the labels of 10,000 images of
Fashion-MNIST, and counts how many of these are among the first 3 % of the doubts: by the network's features, and by the pixels.

Fashion-MNIST is that of Debian's dataset-fashion-mnist.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

STRENGTHS = [10.0**power for power in range(-4, 3)]
EQUAL = 0.1


def fashion(count):
    """Images as rows of pixels from 0 to 255, and their labels."""
    folder = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
    read = lambda name, header: np.frombuffer(gzip.open(folder / name).read(), np.uint8)[header:]
    images = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    return images[:count], read("t10k-labels-idx1-ubyte.gz", 8)[:count]


def digits():
    pixels, labels = load_digits(return_X_y=True)
    return (pixels * 255 / 16).round().astype(np.uint8), labels


def train(senet, folder, pixels, labels):
    """The report of `senet train`, the features that it kept, and their labels."""
    side = int(pixels.shape[1] ** 0.5)
    for index, (image, label) in enumerate(zip(pixels, labels)):
        place = folder / "images" / str(label) / f"{index:05}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.reshape(side, side)).save(place)
    kept = folder / "kept"
    command = [senet, "train", folder / "images", "-m", "demo", "-o", folder / "out", "--features", kept, "--json", "-q"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    with safe_open(kept, "np") as file:
        paths = json.loads(file.metadata()["paths"])
        x = file.get_tensor("features")
    return json.loads(done.stdout), x, np.array([int(path.split("/")[0]) for path in paths])


def many():
    random = np.random.default_rng(0)
    counts = np.geomspace(60, 3, 200).round().astype(int)
    labels = np.repeat(np.arange(200), counts)
    centres = random.normal(size=(200, 256))
    x = 0.8 * centres[labels] + random.normal(size=(len(labels), 256)) * 1.5
    return np.maximum(x, 0), labels


def two():
    random = np.random.default_rng(1)
    labels = (random.uniform(size=1500) < 0.1).astype(int)
    return random.normal(size=(1500, 50)) + 0.4 * labels[:, None], labels


def made_up():
    random = np.random.default_rng(2)
    labels = np.arange(5000) % 10
    centres, basis = random.normal(size=(10, 2048)), random.normal(size=(64, 2048))
    common = random.normal(size=(5000, 64)) * 2 / np.sqrt(1 + np.arange(64))
    x = 0.15 * centres[labels] + random.normal(size=(5000, 2048)) + common @ basis
    return np.maximum(x, 0), labels


IMAGES = {"digits": digits, "fashion": lambda: fashion(4000)}
FEATURES = {
    "pixels": lambda: (fashion(2000)[0] / 255, fashion(2000)[1]),
    "many": many,
    "two": two,
    "time": made_up,
}


def run(program, folder, x, y):
    file, head = folder / "features.safetensors", folder / "head.safetensors"
    save_file({"features": x, "labels": y.astype(np.uint32)}, file)
    done = subprocess.run([program, file, head, str(EQUAL)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout), load_file(head)


def grid_search(x, y, folds, **options):
    """scikit-learn's search over the same strengths and folds, and the seconds that it takes."""
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(**options)),
        {"logisticregression__C": STRENGTHS},
        cv=PredefinedSplit(folds),
    )
    start = time.time()
    search.fit(x, y)
    return search, time.time() - start


def compare(name, senet, program, folder):
    if name in IMAGES:
        report, x, y = train(senet, folder, *IMAGES[name]())
    else:
        report, (x, y) = None, FEATURES[name]()
    x = np.ascontiguousarray(x, np.float32)
    ours, head = run(program, folder, x, y)
    if report:
        # What the bench finds is what `senet train` says.
        correct = [report[kind]["top"][0]["correct"] for kind in ("cross_validation", "nested")]
        assert correct == [round(ours[key] * len(y)) for key in ("top1", "nested_top1")], correct
        assert report["strength"] == ours["strength"]
        assert np.allclose([row["loss"] for row in report["strengths"]], [score[2] for score in ours["scores"]])

    search, seconds = grid_search(x.astype(np.float64), y, ours["folds"], tol=1e-7, max_iter=10_000)
    # Folds differ in size by an image, which their mean ignores.
    sizes = np.bincount(ours["folds"])
    by_fold = np.array([search.cv_results_[f"split{i}_test_score"] for i in range(len(sizes))])
    theirs = (by_fold * sizes[:, None]).sum(0) / sizes.sum()

    scaler = StandardScaler().fit(x.astype(np.float64))
    exact = LogisticRegression(C=EQUAL, tol=1e-9, max_iter=100_000)
    exact.fit(scaler.transform(x.astype(np.float64)), y)
    weight = head["weight"].astype(np.float64)
    bias = head["bias"] + weight @ scaler.mean_
    weight = weight * scaler.scale_
    if len(bias) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    far = max(np.abs(weight - exact.coef_).max(), np.abs(bias - exact.intercept_).max())

    points = 100 * abs(ours["top1"] - theirs.max())
    ours_each = " ".join(f"{100 * score[1]:.2f}" for score in ours["scores"])
    print(f"{name}: {x.shape[0]} x {x.shape[1]}, {y.max() + 1} classes, {len(sizes)} folds")
    print(f"  top-1 {100 * ours['top1']:.2f} at C = {ours['strength']:g} (nested {100 * ours['nested_top1']:.2f}), "
          f"scikit-learn {100 * theirs.max():.2f} at C = {STRENGTHS[theirs.argmax()]:g}: {points:.2f} points apart")
    print(f"  for each C: {ours_each}")
    print(f"  scikit-learn {' '.join(f'{100 * score:.2f}' for score in theirs)}")
    print(f"  coefficients at C = {EQUAL}: at most {far:.1e} apart")
    print(f"  {ours['seconds']['all']:.2f} s with nested cross-validation, learning curve and final fit "
          f"({ours['seconds']['cross_validation']:.2f} cross-validation), scikit-learn's grid search {seconds:.2f} s", flush=True)
    if name == "time":
        search, seconds = grid_search(x, y, ours["folds"], max_iter=1000)
        best = 100 * search.best_score_
        print(f"  in f32 and with the usual tolerance, scikit-learn takes {seconds:.2f} s for a top-1 of {best:.2f}", flush=True)
    return points <= 0.3 and far <= 1e-3


def doubts(senet, program, folder):
    pixels, y = fashion(10_000)
    random = np.random.default_rng(3)
    swapped = random.choice(len(y), len(y) * 3 // 100, replace=False)
    labels = y.astype(int)
    labels[swapped] = (labels[swapped] + random.integers(1, 10, len(swapped))) % 10
    report, _, _ = train(senet, folder, pixels, labels)
    first = [int(Path(doubt["image"]).stem) for doubt in report["doubts"]]
    by_pixels, _ = run(program, folder, np.ascontiguousarray(pixels / 255, np.float32), labels)
    good = True
    for name, first in (("network", first), ("pixels", by_pixels["doubts"])):
        found = len(set(first[: len(swapped)]) & set(swapped.tolist())) / len(swapped)
        print(f"doubts, {name}: {100 * found:.1f} % of the swapped labels are among the first 3 %", flush=True)
        good &= found >= 0.6
    return good


def main():
    senet, program, *names = sys.argv[1:]
    good = True
    for name in names or [*IMAGES, *FEATURES, "doubts"]:
        with tempfile.TemporaryDirectory() as folder:
            if name == "doubts":
                good &= doubts(senet, program, Path(folder))
            else:
                good &= compare(name, senet, program, Path(folder))
    sys.exit(not good)


if __name__ == "__main__":
    main()
