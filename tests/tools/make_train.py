"""Writes tests/data/train.json: scikit-learn's classifiers of small data.

    python tests/tools/make_train.py

Needs scikit-learn. The features are decimal fractions of few digits, so that the file says exactly what
they are.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

OUT = Path(__file__).parents[1] / "data" / "train.json"


def case(name, images, width, classes, strength, seed, balanced=False):
    random = np.random.default_rng(seed)
    # Few images of the last classes.
    shares = np.linspace(3, 1, classes)
    labels = random.choice(classes, images, p=shares / shares.sum())
    labels[:classes] = np.arange(classes)
    centres = random.normal(size=(classes, width))
    x = 0.7 * centres[labels] + random.normal(size=(images, width))
    # Features of different sizes and means, as behind a ReLU, and one that says nothing.
    x = np.maximum(x + random.normal(size=width), 0) * np.exp(random.normal(size=width))
    x[:, 2] = 1.25
    x = np.round(x, 3)
    scaler = StandardScaler().fit(x)
    fit = LogisticRegression(
        C=strength, tol=1e-10, max_iter=100_000, class_weight="balanced" if balanced else None
    ).fit(scaler.transform(x), labels)
    return {
        "name": name,
        "width": width,
        "classes": classes,
        "strength": strength,
        "balanced": balanced,
        "features": x.ravel().tolist(),
        "labels": labels.tolist(),
        # Of standardised features; a single row for two classes.
        "weight": np.round(fit.coef_, 6).ravel().tolist(),
        "bias": np.round(fit.intercept_, 6).tolist(),
        "mean": np.round(scaler.mean_, 6).tolist(),
        "scale": np.round(scaler.scale_, 6).tolist(),
        "probabilities": np.round(fit.predict_proba(scaler.transform(x)), 6).ravel().tolist(),
    }


cases = [
    case("two classes", 60, 5, 2, 1.0, 1),
    case("two classes, balanced, weak", 70, 7, 2, 30.0, 2, balanced=True),
    case("five classes", 120, 9, 5, 0.1, 3),
    case("five classes, balanced", 120, 9, 5, 1.0, 4, balanced=True),
    case("more features than images", 40, 70, 4, 0.01, 5),
]
with open(OUT, "w") as file:
    json.dump({"cases": cases}, file)
    file.write("\n")
