"""Train the embedded model: SE-ResNet-20 on Fashion-MNIST, on the CPU.

    apt-get install dataset-fashion-mnist
    python tests/tools/train_fashion_mnist.py --out models/weights/seresnet20.fashion_mnist.safetensors

The network is the CIFAR-style ResNet-20 of He et al. (arXiv:1512.03385, section 4.2) with a
squeeze-and-excitation module after the second BatchNorm of each block (reduction 16) and a 1x1
projection where the width changes. Tensor names are those of timm's `resnet.py`, so the file loads
like any other checkpoint. About an hour and a half on one core; seeded.

    python tests/tools/train_fashion_mnist.py \
        --evaluate models/weights/seresnet20.fashion_mnist.safetensors \
        --out tests/data/fashion_mnist_torch.txt

writes PyTorch's answer for each of the 10,000 test images: one digit each, 100 per line.
"""

import argparse
import gzip
import json
import os
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

DATA = "/usr/share/datasets/fashion-mnist"
MEAN, STD = 0.2860, 0.3530


def read_idx(kind, folder=DATA):
    """Images [N, 28, 28] u8 and labels [N] of `train` or `t10k`."""
    with gzip.open(os.path.join(folder, f"{kind}-images-idx3-ubyte.gz")) as f:
        images = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(os.path.join(folder, f"{kind}-labels-idx1-ubyte.gz")) as f:
        labels = np.frombuffer(f.read(), np.uint8, offset=8)
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduction=16):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x):
        gate = x.mean((2, 3), keepdim=True)
        return x * self.fc2(F.relu(self.fc1(gate))).sigmoid()


class Block(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = SqueezeExcite(channels)
        self.downsample = None
        if inputs != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.se(self.bn2(self.conv2(x))) + shortcut)


class SeResNetCifar(nn.Module):
    def __init__(self, layers=(3, 3, 3), classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for i, (n, channels) in enumerate(zip(layers, (16, 32, 64))):
            blocks = []
            for j in range(n):
                blocks.append(Block(inputs, channels, 2 if i > 0 and j == 0 else 1))
                inputs = channels
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def normalise(images):
    x = (images.float() / 255 - MEAN) / STD
    return x.unsqueeze(1).expand(-1, 3, -1, -1)


def augment(images, rng):
    """Random shift by up to 2 pixels (black border) and horizontal flip; u8 in, u8 out."""
    n = len(images)
    padded = F.pad(images, (2, 2, 2, 2))
    dy, dx = torch.randint(0, 5, (2, n, 1, 1), generator=rng)
    rows = dy + torch.arange(28).view(1, 28, 1)
    cols = torch.arange(28).view(1, 1, 28)
    flip = torch.rand(n, 1, 1, generator=rng) < 0.5
    cols = dx + torch.where(flip, 27 - cols, cols)
    return padded[torch.arange(n).view(n, 1, 1), rows, cols]


@torch.no_grad()
def logits_of(model, images, batch=500):
    model.eval()
    out = []
    for i in range(0, len(images), batch):
        x = normalise(images[i:i + batch]).contiguous(memory_format=torch.channels_last)
        out.append(model(x))
    return torch.cat(out)


def evaluate(weights, out, data):
    model = SeResNetCifar()
    missing = model.load_state_dict(load_file(weights), strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    images, labels = read_idx("t10k", data)
    answers = logits_of(model, images).argmax(1)
    correct = (answers == labels).sum().item()
    print(f"torch {torch.__version__}: {correct} of {len(labels)} correct")
    digits = "".join(str(answer) for answer in answers.tolist())
    with open(out, "w") as f:
        f.writelines(digits[i:i + 100] + "\n" for i in range(0, len(digits), 100))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--evaluate", metavar="WEIGHTS", help="instead of training")
    parser.add_argument("--data", default=DATA)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=20)
    args = parser.parse_args()
    if args.evaluate:
        return evaluate(args.evaluate, args.out, args.data)

    torch.manual_seed(args.seed)
    rng = torch.Generator().manual_seed(args.seed)
    images, labels = read_idx("train", args.data)
    test_images, test_labels = read_idx("t10k", args.data)
    model = SeResNetCifar().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True,
                                weight_decay=args.weight_decay)
    steps = len(images) // args.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=steps * args.epochs, pct_start=0.2)
    for epoch in range(args.epochs):
        start, total = time.time(), 0.0
        model.train()
        order = torch.randperm(len(images), generator=rng)
        for step in range(steps):
            pick = order[step * args.batch_size:(step + 1) * args.batch_size]
            x = normalise(augment(images[pick], rng)).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(x), labels[pick])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        # The weights of the last epoch are kept: the test images do not influence the choice.
        correct = (logits_of(model, test_images).argmax(1) == test_labels).sum().item()
        print(json.dumps({"epoch": epoch + 1, "loss": round(total / steps, 4),
                          "test_correct": correct, "seconds": round(time.time() - start, 1)}), flush=True)
        state = {k: v.contiguous() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
        os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        save_file(state, args.out, metadata={
            "epochs": str(epoch + 1), "seed": str(args.seed), "torch": torch.__version__})


if __name__ == "__main__":
    main()
