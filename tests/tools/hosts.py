"""The networks of the SENet article's table 3 and section 6.1 that timm lacks, written from their topologies.

Each has the names of the weights file that `senet` reads, so its state dict can be loaded there as it is. `Tap`s
hold no weights: make_golden.py reads what passes through them. Where the modules are (arXiv:1709.01507): after a
whole Inception module; on the residual branch before its sum (Inception-ResNet, ShuffleNet); after the activation
of each convolution of VGG and of each 1x1 of MobileNet, section 3.3.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Tap(nn.Identity):
    pass


class Se(nn.Module):
    """`names` of the two 1x1 convolutions; those of timm's `resnet.py` if left out."""

    def __init__(self, channels, reduced, names=("fc1", "fc2")):
        super().__init__()
        self.names = names
        self.add_module(names[0], nn.Conv2d(channels, reduced, 1))
        self.add_module(names[1], nn.Conv2d(reduced, channels, 1))
        self.gate = Tap()

    def forward(self, x):
        down, up = (self.get_submodule(name) for name in self.names)
        return x * self.gate(up(F.relu(down(x.mean((2, 3), keepdim=True)))).sigmoid())


def points(model):
    """label -> (module whose output is recorded, function applied to it), as in make_golden.py."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, Tap):
            owner, _, last = name.rpartition(".")
            if last == "gate":
                found["gate." + owner] = (name, lambda x: x.flatten(1).clone())
            else:
                found[last] = (name, torch.Tensor.clone)
    return found


# ---------------------------------------------------------------- SE-BN-Inception
# Input, 1x1, 3x3, double 3x3, pool and its projection, module; None for a block of stride 2.
BN_INCEPTION = {
    "3a": (64, (64, 64), (64, 96, 96), ("avg", 32), 16),
    "3b": (64, (64, 96), (64, 96, 96), ("avg", 64), 20),
    "3c": (None, (128, 160), (64, 96, 96), None, 36),
    "4a": (224, (64, 96), (96, 128, 128), ("avg", 128), 36),
    "4b": (192, (96, 128), (96, 128, 128), ("avg", 128), 36),
    "4c": (160, (128, 160), (128, 160, 160), ("avg", 128), 38),
    "4d": (96, (128, 192), (160, 192, 192), ("avg", 128), 38),
    "4e": (None, (128, 192), (192, 256, 256), None, 66),
    "5a": (352, (192, 320), (160, 224, 224), ("avg", 128), 64),
    "5b": (352, (192, 320), (192, 224, 224), ("max", 128), 64),
}


class SeBnInception(nn.Module):
    """The names of the authors' Caffe file, which has no dots in them: all modules lie side by side."""

    def __init__(self, classes=1000):
        super().__init__()
        self.taps = nn.ModuleDict({name: Tap() for name in ("stem", "stage1", "stage2", "stage3", "stage4")})
        self.gates = nn.ModuleDict()
        self.layer("conv1/7x7_s2", 3, 64, 7, 2)
        self.layer("conv2/3x3_reduce", 64, 64)
        self.layer("conv2/3x3", 64, 192, 3)
        inputs = 192
        for block, (one, (a, b), (c, d, e), pool, reduced) in BN_INCEPTION.items():
            block, stride = f"inception_{block}", 1 if pool else 2
            outputs = b + e + (one + pool[1] if pool else inputs)
            if pool:
                self.layer(f"{block}/1x1", inputs, one)
                self.layer(f"{block}/pool_proj", inputs, pool[1])
            self.layer(f"{block}/3x3_reduce", inputs, a)
            self.layer(f"{block}/3x3", a, b, 3, stride)
            self.layer(f"{block}/double3x3_reduce", inputs, c)
            self.layer(f"{block}/double3x3a", c, d, 3)
            self.layer(f"{block}/double3x3b", d, e, 3, stride)
            self.add_module(f"{block}_1x1_down", nn.Conv2d(outputs, reduced, 1))
            self.add_module(f"{block}_1x1_up", nn.Conv2d(reduced, outputs, 1))
            self.gates[f"{block}_1x1"] = Tap()
            inputs = outputs
        self.classifier = nn.Linear(inputs, classes)

    def layer(self, name, inputs, outputs, kernel=1, stride=1):
        self.add_module(name, nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False))
        self.add_module(name + "/bn", nn.BatchNorm2d(outputs, eps=1e-5))

    def run(self, x, *names):
        for name in names:
            x = F.relu(self.get_submodule(name + "/bn")(self.get_submodule(name)(x)))
        return x

    def forward(self, x):
        # Images come as red, green, blue; the filters take blue first.
        x = self.taps["stem"](self.run(x.flip(1), "conv1/7x7_s2"))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = self.taps["stage1"](self.run(x, "conv2/3x3_reduce", "conv2/3x3"))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for block, (_, _, _, pool, _) in BN_INCEPTION.items():
            b = f"inception_{block}"
            parts = [self.run(x, f"{b}/1x1")] if pool else []
            parts.append(self.run(x, f"{b}/3x3_reduce", f"{b}/3x3"))
            parts.append(self.run(x, f"{b}/double3x3_reduce", f"{b}/double3x3a", f"{b}/double3x3b"))
            if not pool:
                parts.append(F.max_pool2d(x, 3, 2, ceil_mode=True))
            elif pool[0] == "avg":
                parts.append(self.run(F.avg_pool2d(x, 3, 1, 1), f"{b}/pool_proj"))
            else:
                parts.append(self.run(F.max_pool2d(x, 3, 1, 1), f"{b}/pool_proj"))
            x = torch.cat(parts, 1)
            down, up = self.get_submodule(f"{b}_1x1_down"), self.get_submodule(f"{b}_1x1_up")
            x = x * self.gates[f"{b}_1x1"](up(F.relu(down(x.mean((2, 3), keepdim=True)))).sigmoid())
            if block in ("3b", "4d", "5b"):
                x = self.taps[{"3b": "stage2", "4d": "stage3", "5b": "stage4"}[block]](x)
        return self.classifier(x.mean((2, 3)))

    def points(self):
        found = {}
        for name in self.taps:
            found[name] = (f"taps.{name}", torch.Tensor.clone)
        for name in self.gates:
            found[f"gate.{name}"] = (f"gates.{name}", lambda x: x.flatten(1).clone())
        return found


HOSTS = {"se_bn_inception": SeBnInception}
# Batch, height, width. Where branches of stride 2 end, only even maps give them the same size.
SIZES = {"se_bn_inception": ((2, 97, 67), (1, 65, 131))}
