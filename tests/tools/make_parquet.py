"""A small image data set in the format of the Hugging Face hub, for `tests/cli/eval_data.rs`.

    venv/bin/pip install datasets pillow
    venv/bin/python tests/tools/make_parquet.py

Writes tests/data/eval/pictures.parquet with the package `datasets`: six rows in three row groups,
labels by a list of four class names in an order that is not the model's. One image is broken.
"""

from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image

DATA = Path(__file__).resolve().parents[1] / "data"
NAMES = ["Sneaker", "Ankle boot", "Bag", "T-shirt/top"]
ROWS = [("ankle-boot.png", 1), ("ankle-boot.png", 0), ("grey.png", 3), ("broken", 2), ("exact-224.png", 2), ("ankle-boot.png", 1)]


def main() -> None:
    folder = DATA / "pictures"
    images = [
        {"bytes": b"no picture" if name == "broken" else (folder / name).read_bytes(), "path": name} for name, _ in ROWS
    ]
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
    rows = Dataset.from_dict({"image": images, "label": [label for _, label in ROWS]}, features=features)
    path = DATA / "eval/pictures.parquet"
    rows.to_parquet(path, batch_size=2)
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
