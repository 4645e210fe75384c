"""Train timm's `legacy_seresnet18` on Fashion-MNIST at 32 px, on the CPU, for `eval_timm.py`.

    apt-get install dataset-fashion-mnist
    pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 safetensors numpy
    python tests/tools/train_legacy_seresnet18.py --out target/legacy_seresnet18

One epoch, a few minutes on two cores, about 88 % of the test images correct; seeded. timm itself writes the
folder, `config.json` and `model.safetensors` in the format of the Hugging Face hub, and `senet` opens it
with `--model`. The weights are only for comparisons and are not kept in the repository.
"""

import argparse
import time
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from timm.models import save_for_hf
from torchvision.transforms.v2.functional import InterpolationMode, resize
from train_fashion_mnist import DATA, MEAN, STD, normalise, read_idx

NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
INPUT = {
    "input_size": (3, 32, 32),
    "crop_pct": 1.0,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": (MEAN,) * 3,
    "std": (STD,) * 3,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--data", default=DATA)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--steps", type=int, help="stop early, to try the script")
    args = parser.parse_args()
    torch.manual_seed(18)
    start = time.time()

    def read_images(kind):
        grey, labels = read_idx(kind, args.data)
        grey = resize(grey.unsqueeze(1), [32, 32], InterpolationMode.BICUBIC)
        return grey.squeeze(1), labels

    images, labels = read_images("train")
    model = timm.create_model("legacy_seresnet18", num_classes=len(NAMES))
    model = model.to(memory_format=torch.channels_last).train()
    steps = args.steps or len(images) // args.batch_size
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps, pct_start=0.2)
    order = torch.randperm(len(images))
    for step in range(steps):
        pick = order[step * args.batch_size : (step + 1) * args.batch_size]
        loss = F.cross_entropy(model(normalise(images[pick])), labels[pick])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}, loss {loss.item():.4f}, {time.time() - start:.0f} s", flush=True)

    model.eval()
    images, labels = read_images("t10k")
    with torch.inference_mode():
        answers = torch.cat([model(normalise(part)).argmax(1) for part in images.split(500)])
    print(f"{(answers == labels).sum().item()} of {len(labels)} test images correct")
    model.to(memory_format=torch.contiguous_format)
    save_for_hf(model, args.out, {"label_names": NAMES}, safe_serialization=True, data_config=INPUT)
    print(args.out)


if __name__ == "__main__":
    main()
