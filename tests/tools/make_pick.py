"""Which file of a directory timm loads as the weights, for the tests in src/store/pick.rs.

    python tests/tools/make_pick.py

writes tests/data/pick.json: the files of a directory, the one that timm 1.0.31 loads (null: none), and
whether it warns that there are several.
"""

import itertools
import json
import random
import tempfile
from pathlib import Path

from timm.models import _hub

OUT = Path(__file__).resolve().parents[1] / "data/pick.json"
NAMES = (
    "model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth",
    "a.safetensors", "b.safetensors", "a.pth", "b.pth", "a.pth.tar", "b.pth.tar", "a.bin", "b.bin",
)  # fmt: skip


def picked(names):
    warned, chosen = [], []
    _hub.load_state_dict = lambda path, **_: chosen.append(path.name)
    _hub._logger.warning = warned.append
    with tempfile.TemporaryDirectory() as folder:
        for name in (*names, "config.json", "README.md"):
            (Path(folder) / name).touch()
        try:
            _hub.load_state_dict_from_path(folder)
        except RuntimeError:
            return {"files": names, "timm": None, "several": False}
    return {"files": names, "timm": chosen[0], "several": bool(warned)}


def main():
    random.seed(1)
    few = [list(names) for size in range(3) for names in itertools.combinations(NAMES, size)]
    many = [sorted(random.sample(NAMES, random.randint(3, 8))) for _ in range(60)]
    lines = ",\n".join(json.dumps(picked(names)) for names in few + many)
    OUT.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
