"""Neighbours and pairs that FAISS finds, for `tests/library/similar.rs`.

    venv/bin/pip install faiss-cpu numpy
    venv/bin/python tests/tools/make_similar.py

Writes tests/data/similar.json. The vectors are made of whole numbers by a formula that the test has, too.
"""

import json
from pathlib import Path

import faiss
import numpy as np

COUNT, WIDTH, QUERIES, K = 600, 48, 12, 10
THRESHOLD = 0.9


def vectors() -> np.ndarray:
    """Vectors around 40 centres: the same whole numbers as in the test."""
    row, column = np.ogrid[:COUNT, :WIDTH]
    center = (row % 40 * 31 + column * 17 + row % 40 * column * 7) % 101 - 50
    noise = (row * 57 + column * 29 + row * column * 13) % 41 - 20
    return (center + noise).astype(np.float32)


def main() -> None:
    x = vectors()
    faiss.normalize_L2(x)
    index = faiss.IndexFlatIP(WIDTH)
    index.add(x)
    similarities, rows = index.search(x[:QUERIES], K)
    limits, products, found = index.range_search(x, THRESHOLD)
    pairs = sorted(
        [query, int(row), round(float(product), 6)]
        for query in range(COUNT)
        for row, product in zip(found[limits[query] : limits[query + 1]], products[limits[query] : limits[query + 1]])
        if row > query
    )
    assert all(abs(product - THRESHOLD) > 1e-5 for product in products), "a pair is too close to the threshold"
    expected = {
        "faiss": faiss.__version__,
        "neighbors": [
            [[int(row), round(float(similarity), 6)] for row, similarity in zip(*both)]
            for both in zip(rows, similarities)
        ],
        "pairs": pairs,
    }
    path = Path(__file__).parents[1] / "data/similar.json"
    path.write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    print(f"{path}: {len(pairs)} pairs")


if __name__ == "__main__":
    main()
