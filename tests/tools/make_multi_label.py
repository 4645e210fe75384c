"""Expected figures of a multi-label report, from scikit-learn.

    venv/bin/pip install numpy scikit-learn
    venv/bin/python tests/tools/make_multi_label.py

Writes tests/data/eval/multi_label.json: scores of 120 made-up images of 6 classes, their labels, and
the figures of scikit-learn, which `tests/library/eval.rs` compares.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score

IMAGES, CLASSES, THRESHOLDS = 120, 6, (0.3, 0.5)


def main() -> None:
    numbers = np.random.default_rng(20171)
    labels = numbers.random((IMAGES, CLASSES)) < [0.5, 0.3, 0.1, 0.05, 0.9, 0]  # the last class does not occur
    labels[:5] = False  # images that show nothing
    # Of two digits: many scores are the same.
    scores = (1 / (1 + np.exp(-numbers.normal(labels * 1.5 - 1, 1.5)))).round(2)
    occurs = labels.any(0)
    expected = {
        "mean_average_precision": average_precision_score(labels[:, occurs], scores[:, occurs], average="macro"),
        "average_precision": [average_precision_score(labels[:, c], scores[:, c]) for c in np.flatnonzero(occurs)],
        "f1": {
            str(threshold): {
                "micro": f1_score(labels, scores > threshold, average="micro"),
                "macro": f1_score(labels[:, occurs], scores[:, occurs] > threshold, average="macro"),
                "each": f1_score(labels[:, occurs], scores[:, occurs] > threshold, average=None).tolist(),
            }
            for threshold in THRESHOLDS
        },
    }
    data = {
        "made_with": {name: version(name) for name in ("scikit-learn", "numpy")},
        "scores": scores.tolist(),
        "labels": [np.flatnonzero(row).tolist() for row in labels],
        "expected": expected,
    }
    path = Path(__file__).resolve().parents[1] / "data/eval/multi_label.json"
    path.write_text(json.dumps(data) + "\n")
    print(json.dumps(expected))


if __name__ == "__main__":
    main()
