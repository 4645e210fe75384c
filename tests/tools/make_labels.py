"""Write the label files under models/labels/ from the lists in timm.

    pip install timm==1.0.31
    python tests/tools/make_labels.py

One class per line, in the order of the classifier's outputs: WordNet id, tab, names. Fashion-MNIST
has no ids and so one column.
"""

from importlib.metadata import version
from pathlib import Path

import timm.data

INFO = Path(timm.data.__file__).parent / "_info"
OUT = Path(__file__).resolve().parents[2] / "models" / "labels"
WORDNET = "Names: WordNet 3.0, Copyright 2006 by Princeton University, https://wordnet.princeton.edu"

# From the data set's README, https://github.com/zalandoresearch/fashion-mnist
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def write(name, comments, lines):
    OUT.mkdir(parents=True, exist_ok=True)
    text = "".join(f"# {line}\n" for line in comments) + "".join(f"{line}\n" for line in lines)
    (OUT / f"{name}.tsv").write_text(text, encoding="utf-8")
    print(f"{name}: {len(lines)} classes")


def imagenet(name, title, synset_file, lemmas):
    source = f"Order: timm {version('timm')} (Apache-2.0), timm/data/_info/{synset_file}"
    synsets = (INFO / synset_file).read_text(encoding="utf-8").split()
    write(name, [title, source, WORDNET], [f"{synset}\t{lemmas[synset]}" for synset in synsets])


def main():
    lemma_lines = (INFO / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemmas = dict(line.split("\t") for line in lemma_lines)
    imagenet("imagenet-1k", "ImageNet-1k (ILSVRC 2012)", "imagenet_synsets.txt", lemmas)
    imagenet("imagenet-12k", "ImageNet-12k, timm's subset of ImageNet's release of fall 2011",
             "imagenet12k_synsets.txt", lemmas)
    imagenet("imagenet-21k", "ImageNet-21k, the release of fall 2011 in the order of Google's checkpoints",
             "imagenet21k_goog_synsets.txt", lemmas)
    imagenet("imagenet-21k-miil", "ImageNet-21k-P, the release of fall 2011 without rare classes (arXiv:2104.10972)",
             "imagenet21k_miil_synsets.txt", lemmas)
    devkit = [line for line in (OUT / "ilsvrc2012-devkit.txt").read_text().splitlines() if line[0] != "#"]
    write("imagenet-1k-devkit", ["ImageNet-1k (ILSVRC 2012), in the order of the development kit",
                                 "Order: ilsvrc2012-devkit.txt", WORDNET],
          [f"{synset}\t{lemmas[synset]}" for synset in devkit])
    write("fashion-mnist", ["Fashion-MNIST (arXiv:1708.07747)",
                            "Source: https://github.com/zalandoresearch/fashion-mnist (MIT)"], FASHION)


if __name__ == "__main__":
    main()
