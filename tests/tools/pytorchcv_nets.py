"""SE-ResNet, SE-ResNeXt, SENet and SE-PreResNet as pytorchcv (osmr, MIT) has them, with its tensor names.

    python tests/tools/pytorchcv_nets.py                     # names, shapes and parameters: tests/data/pytorchcv.json
    python tests/tools/pytorchcv_nets.py DIRECTORY NAME...   # against pytorchcv's source there: names and logits

Written from the papers and the layout of the published files, with a global pool at the end, so that other sizes
than the native one work. The second command compares each with pytorchcv itself (7f31dc8), with random weights.
"""

import copy
import importlib
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

LAYERS = {"10": (1, 1, 1, 1), "12": (2, 1, 1, 1), "14": (2, 2, 1, 1), "16": (2, 2, 2, 1), "18": (2, 2, 2, 2),
          "26": (3, 3, 3, 3), "bc26b": (2, 2, 2, 2), "bc38b": (3, 3, 3, 3), "50": (3, 4, 6, 3), "50b": (3, 4, 6, 3),
          "101": (3, 4, 23, 3), "101b": (3, 4, 23, 3), "152": (3, 8, 36, 3)}
CIFAR = {"20": 3, "56": 9, "110": 18, "164bn": 18, "272bn": 30, "542bn": 60}
PUBLISHED_PRE = ("10", "12", "16", "18", "26", "bc26b", "bc38b", "50b")


class Conv(nn.Module):
    """A convolution and its BatchNorm, which comes first with `pre`."""

    def __init__(self, inputs, outputs, kernel, stride=1, groups=1, pre=False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(inputs if pre else outputs)

    def forward(self, x):
        return self.bn(self.conv(x))


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 16, 1)
        self.conv2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, x):
        return self.conv2(F.relu(self.conv1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Unit(nn.Module):
    """Convolutions given as (channels, kernel, stride, groups), then the gate and the sum."""

    def __init__(self, inputs, convs, shortcut_kernel, pre):
        super().__init__()
        self.pre, self.body = pre, nn.Module()
        before = inputs
        for number, (outputs, kernel, stride, groups) in enumerate(convs, 1):
            self.body.add_module(f"conv{number}", Conv(before, outputs, kernel, stride, groups, pre))
            before = outputs
        self.se = Gate(before)
        total = max(stride for _, _, stride, _ in convs)
        if inputs != before or total != 1:
            self.identity_conv = (nn.Conv2d(inputs, before, 1, total, bias=False) if pre
                                  else Conv(inputs, before, shortcut_kernel, total))

    def forward(self, x):
        convs = list(self.body.children())
        y = shortcut = x
        for number, conv in enumerate(convs):
            if self.pre:
                y = F.relu(conv.bn(y))
                if number == 0 and hasattr(self, "identity_conv"):
                    shortcut = self.identity_conv(y)
                y = conv.conv(y)
            else:
                y = conv(y)
                y = F.relu(y) if number + 1 < len(convs) else y
        if not self.pre and hasattr(self, "identity_conv"):
            shortcut = self.identity_conv(x)
        y = y * self.se(y) + shortcut
        return y if self.pre else F.relu(y)


class PytorchcvNet(nn.Module):
    def __init__(self, name, classes=None):
        super().__init__()
        family, size = split(name)
        self.pre = family == "sepreresnet"
        cifar = size in CIFAR and family in ("seresnet", "sepreresnet")
        bottleneck = family in ("seresnext", "senet") or size.startswith("bc") or size[-1] in "bn" or size in ("50", "101", "152")
        self.pool = None if cifar else nn.MaxPool2d(3, 2, 1)
        self.features, init, channels = nn.Module(), nn.Module(), 64
        if cifar:
            layers, channels = (CIFAR[size],) * 3, 16
            init = Conv(3, 16, 3)
        elif family == "senet":
            init.conv1, init.conv2, init.conv3 = Conv(3, 64, 3, 2), Conv(64, 64, 3), Conv(64, 128, 3)
            layers, channels = {"16": (1, 1, 1, 1), "28": (2, 2, 2, 2), "154": (3, 8, 36, 3)}[size], 128
        else:
            init.conv = Conv(3, 64, 7, 2)
            layers = LAYERS[size.split("_")[0]]
            if self.pre:
                init = init.conv
        self.features.init_block = init
        for index, count in enumerate(layers):
            stage = nn.Module()
            width = (16 if cifar else 64) << index
            outputs = 4 * width if bottleneck else width
            for number in range(count):
                stride = 2 if number == 0 and index > 0 else 1
                convs = ((outputs, 3, stride, 1), (outputs, 3, 1, 1))
                if family == "seresnext":
                    groups, each = (int(number) for number in size.split("_")[1].removesuffix("d").split("x"))
                    each *= width // 64 * groups
                    convs = ((each, 1, 1, 1), (each, 3, stride, groups), (outputs, 1, 1, 1))
                elif family == "senet":
                    groups = 64 if size == "154" else 32
                    each = width * 4 // 64 * groups
                    convs = ((each // 2, 1, 1, 1), (each, 3, stride, groups), (outputs, 1, 1, 1))
                elif bottleneck:
                    first = size in ("50", "101", "152")
                    convs = ((width, 1, stride if first else 1, 1), (width, 3, 1 if first else stride, 1), (outputs, 1, 1, 1))
                unit = Unit(channels, convs, 3 if family == "senet" and index > 0 else 1, self.pre)
                stage.add_module(f"unit{number + 1}", unit)
                channels = outputs
            self.features.add_module(f"stage{index + 1}", stage)
        # The CIFAR networks end with the last sum.
        if self.pre and not cifar:
            self.features.post_activ = nn.Module()
            self.features.post_activ.bn = nn.BatchNorm2d(channels)
        self.output = nn.Linear(channels, classes or (10 if cifar else 1000))
        if family == "senet":
            linear, self.output = self.output, nn.Module()
            self.output.fc = linear

    def run(self, x):
        """Every map by name, then the pooled features and the logits."""
        seen, init = {}, self.features.init_block
        for conv in [init] if isinstance(init, Conv) else init.children():
            x = F.relu(conv(x))
        seen["stem"] = x
        if self.pool is not None:
            seen["stem_pool"] = x = self.pool(x)
        for name, stage in self.features.named_children():
            if name.startswith("stage"):
                for unit in stage.children():
                    x = unit(x)
                seen[name] = x
        if hasattr(self.features, "post_activ"):
            seen["head"] = x = F.relu(self.features.post_activ.bn(x))
        seen["pre_logits"] = x = x.mean((2, 3))
        seen["logits"] = (self.output if isinstance(self.output, nn.Linear) else self.output.fc)(x)
        return seen

    def forward(self, x):
        return self.run(x)["logits"]


def split(name):
    for family in ("sepreresnet", "seresnext", "seresnet", "senet"):
        if name.startswith(family):
            return family, name.removeprefix(family)
    raise ValueError(name)


def published():
    """Every network of a published file, with its number of classes."""
    names = {f"seresnet{size}": 1000 for size in LAYERS}
    names |= {f"seresnet{size}_cub": 200 for size in ("10", "12", "14", "16", "18", "26")}
    names |= {f"sepreresnet{size}": 1000 for size in PUBLISHED_PRE}
    names |= dict.fromkeys(("seresnext50_32x4d", "seresnext101_32x4d", "seresnext101_64x4d",
                            "senet16", "senet28", "senet154"), 1000)
    for family in ("seresnet", "sepreresnet"):
        for size in CIFAR:
            names |= {f"{family}{size}_cifar10": 10, f"{family}{size}_cifar100": 100, f"{family}{size}_svhn": 10}
    return names


def build(name, classes=None):
    for ending in ("_cub", "_cifar100", "_cifar10", "_svhn"):
        name = name.removesuffix(ending)
    return PytorchcvNet(name, classes)


def shapes(model):
    return {name: list(x.shape) for name, x in model.state_dict().items() if not name.endswith("num_batches_tracked")}


def name_hash(text):
    """64-bit FNV-1a."""
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def record():
    """Parameters of each network, and a checksum over the names and shapes of its tensors."""
    lines = {}
    for name, classes in published().items():
        with torch.device("meta"):
            model = build(name, classes)
        listed = sorted(f"{tensor} {shape}" for tensor, shape in shapes(model).items())
        lines[name] = [sum(p.numel() for p in model.parameters()), f"{name_hash(chr(10).join(listed)):016x}"]
    text = ",\n".join(f" {json.dumps(name)}: {json.dumps(line)}" for name, line in lines.items())
    path = Path(__file__).resolve().parents[1] / "data/pytorchcv.json"
    path.write_text(f"{{\n{text}\n}}\n")
    print(f"{len(lines)} networks: {path}")


@torch.no_grad()
def compare(source, *only):
    """Against pytorchcv itself, at its native size."""
    sys.path.insert(0, source)
    module_of = {"_cub": "_cub", "_cifar10": "_cifar", "_cifar100": "_cifar", "_svhn": "_cifar"}
    for name, classes in published().items():
        if only and name not in only:
            continue
        family, size = split(name)
        ending = next((module_of[end] for end in module_of if name.endswith(end)), "")
        module = importlib.import_module(f"pytorchcv.models.{family}{ending}")
        theirs, ours = getattr(module, name)().eval(), build(name, classes).eval()
        assert shapes(theirs) == shapes(ours), name
        torch.manual_seed(len(name))
        for tensor, x in theirs.state_dict().items():
            if tensor.endswith("running_var"):
                x.uniform_(0.5, 2.0)
            elif tensor.endswith("bn.weight"):
                x.uniform_(0.2, 1.0)
            elif x.dim() == 1 and x.is_floating_point():
                x.uniform_(-0.3, 0.3)
        ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        x = torch.randn(1, 3, *theirs.in_size)
        a, b = theirs.double()(x.double()), ours.double()(x.double())
        error = ((a - b).abs().max() / a.abs().max()).item()
        print(f"{name}: {sum(p.numel() for p in ours.parameters())} parameters, logits differ by {error:.1e}", flush=True)
        assert error < 1e-12, name


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compare(*sys.argv[1:])
    else:
        record()
