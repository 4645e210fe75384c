"""Expected figures of `senet eval`'s report, from scikit-learn, SciPy, torchmetrics and statsmodels.

    venv/bin/pip install numpy scipy torch scikit-learn torchmetrics statsmodels
    venv/bin/python tests/tools/make_metrics.py

Writes tests/data/eval/metrics.json: logits of 400 made-up images of 7 classes, their labels, and
the figures of these packages, which `tests/library/eval.rs` compares.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score
from statsmodels.stats.proportion import proportion_confint
from torchmetrics.functional.classification import multiclass_calibration_error

IMAGES, CLASSES = 400, 7


def main() -> None:
    numbers = np.random.default_rng(20171)
    labels = numbers.integers(0, CLASSES - 1, IMAGES)  # the last class does not occur
    logits = numbers.normal(0, 2, (IMAGES, CLASSES))
    logits[np.arange(IMAGES), labels] += 1.5
    logits = logits.round(2).astype(np.float32)
    probabilities = torch.from_numpy(logits).double().softmax(1)
    predictions = logits.argmax(1)
    best = minimize_scalar(
        lambda t: log_loss(labels, (torch.from_numpy(logits).double() / t).softmax(1).numpy(), labels=range(CLASSES)),
        bounds=(0.25, 4),
        method="bounded",
        options={"xatol": 1e-9},
    )
    correct = int((predictions == labels).sum())
    expected = {
        "top": {
            k: int(top_k_accuracy_score(labels, logits, k=k, labels=range(CLASSES), normalize=False)) for k in (1, 2, 5)
        },
        "loss": log_loss(labels, probabilities.numpy(), labels=range(CLASSES)),
        "calibration_error": multiclass_calibration_error(
            probabilities, torch.from_numpy(labels), CLASSES, n_bins=15, norm="l1"
        ).item(),
        "interval": proportion_confint(correct, IMAGES, 0.05, "wilson"),
        "temperature": {"value": best.x, "loss": best.fun},
        "confusion": confusion_matrix(labels, predictions, labels=range(CLASSES)).tolist(),
    }
    packages = ["scikit-learn", "torchmetrics", "statsmodels", "scipy", "torch", "numpy"]
    data = {
        "made_with": {name: version(name) for name in packages},
        "logits": [[round(float(value), 2) for value in row] for row in logits],
        "labels": labels.tolist(),
        "expected": expected,
    }
    path = Path(__file__).resolve().parents[1] / "data/eval/metrics.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data) + "\n")
    print(json.dumps(expected))


if __name__ == "__main__":
    main()
