"""Compares `senet train`'s classifiers with scikit-learn's on the same features.

    cargo bench --no-run --bench train     # prints the program's path
    python tests/tools/train_sklearn.py target/release/deps/train-0123456789abcdef [NAME ...]

Needs scikit-learn, safetensors, and for `fashion` and `doubts` Debian's dataset-fashion-mnist. For each
data set, both choose the best of the same strengths by the same folds, and their accuracies may differ
by 0.3 points; both fit all images with one strength, and their coefficients may differ by 1e-3. The data sets:

    digits      scikit-learn's digits, 1,797 images of 64 pixels, 10 classes
    fashion     4,000 images of Fashion-MNIST, 784 pixels, 10 classes
    many        a synthetic one, 200 classes of 3 to 60 images, 256 features
    two         two classes of very different size
    time        5,000 images of 2,048 synthetic features, 10 classes

`doubts` swaps 3 % of the labels of 10,000 images of Fashion-MNIST and counts how many of the swapped are among the first 3 %
of the doubts. With the argument FILE.safetensors that `senet embed` wrote of those images it takes these
features in place of the pixels.
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
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

STRENGTHS = [10.0**power for power in range(-4, 3)]
EQUAL = 0.1


def fashion(count):
    folder = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
    read = lambda name, header: np.frombuffer(gzip.open(folder / name).read(), np.uint8)[header:]
    images = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    return images[:count].astype(np.float32) / 255, read("t10k-labels-idx1-ubyte.gz", 8)[:count]


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


DATA = {
    "digits": lambda: load_digits(return_X_y=True),
    "fashion": lambda: fashion(4000),
    "many": many,
    "two": two,
    "time": made_up,
}


def run(program, folder, x, y):
    file, head = folder / "features.safetensors", folder / "head.safetensors"
    save_file({"features": x, "labels": y.astype(np.uint32)}, file)
    start = time.time()
    done = subprocess.run([program, file, head, str(EQUAL)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout), load_file(head), time.time() - start


def compare(name, program, folder):
    x, y = DATA[name]()
    x = np.ascontiguousarray(x, np.float32)
    ours, head, _ = run(program, folder, x, y)

    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": STRENGTHS},
        cv=PredefinedSplit(ours["folds"]),
    )
    start = time.time()
    search.fit(x, y)
    seconds = time.time() - start
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
    return points <= 0.3 and far <= 1e-3


def doubts(program, folder, features):
    x, y = fashion(10_000)
    if features:
        x = load_file(features)["features"]
    random = np.random.default_rng(3)
    swapped = random.choice(len(y), len(y) * 3 // 100, replace=False)
    labels = y.astype(int)
    labels[swapped] = (labels[swapped] + random.integers(1, 10, len(swapped))) % 10
    ours, _, _ = run(program, folder, np.ascontiguousarray(x, np.float32), labels)
    found = len(set(ours["doubts"][: len(swapped)]) & set(swapped.tolist())) / len(swapped)
    print(f"doubts: {100 * found:.1f} % of the swapped labels are among the first 3 % "
          f"(top-1 {100 * ours['top1']:.2f} on the labels with mistakes)", flush=True)
    return found >= 0.6


def main():
    program, *names = sys.argv[1:]
    files = [name for name in names if name.endswith(".safetensors")]
    names = [name for name in names if name not in files] or [*DATA, "doubts"]
    with tempfile.TemporaryDirectory() as folder:
        good = [
            doubts(program, Path(folder), files[0] if files else None)
            if name == "doubts"
            else compare(name, program, Path(folder))
            for name in names
        ]
    sys.exit(not all(good))


main()
