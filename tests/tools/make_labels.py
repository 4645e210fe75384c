"""Write the label files under models/labels/ from the lists in timm.

    pip install timm==1.0.31
    python tests/tools/make_labels.py
    python tests/tools/make_labels.py CUB_200_2011/classes.txt   # and the birds, from the data set's own list

One class per line, in the order of the classifier's outputs: id, tab, names. The id is what data sets call the
class's directory; sets whose names serve as that have one column.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import timm.data

INFO = Path(timm.data.__file__).parent / "_info"
OUT = Path(__file__).resolve().parents[2] / "models" / "labels"
WORDNET = "Names: WordNet 3.0, Copyright 2006 by Princeton University, https://wordnet.princeton.edu"

# From the data set's README, https://github.com/zalandoresearch/fashion-mnist
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]

# `label_names` of the data sets' batches.meta and meta, and https://www.cs.toronto.edu/~kriz/cifar.html
CIFAR_10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR_100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm""".split()


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
    cifar = "Source: https://www.cs.toronto.edu/~kriz/cifar.html"
    write("cifar-10", ["CIFAR-10", cifar], CIFAR_10)
    write("cifar-100", ["CIFAR-100, fine labels", cifar], [f"{name}\t{name.replace('_', ' ')}" for name in CIFAR_100])
    write("svhn", ["Street View House Numbers, cropped digits; the data set's own label of 0 is 10, here 0 as in torchvision",
                   "Source: http://ufldl.stanford.edu/housenumbers"], range(10))
    for path in sys.argv[1:]:
        birds = [line.split()[1] for line in Path(path).read_text(encoding="utf-8").splitlines()]
        write("cub-200", ["Caltech-UCSD Birds-200-2011",
                          "Source: its classes.txt, https://www.vision.caltech.edu/datasets/cub_200_2011"],
              [f"{bird}\t{bird.split('.')[1].replace('_', ' ')}" for bird in birds])


if __name__ == "__main__":
    main()
