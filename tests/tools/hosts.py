"""The networks of the SENet article's table 3 and section 6.1 that timm lacks, written from their topologies.

Each has the names of the weights file that `senet` reads, so its state dict can be loaded there as it is. `Tap`s
hold no weights: make_golden.py reads what passes through them. Where the modules are (arXiv:1709.01507): after a
whole Inception module; on the residual branch before its sum (Inception-ResNet, ShuffleNet); after the activation
of each convolution of VGG and of each 1x1 of MobileNet, section 3.3.
"""

import timm
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


# ---------------------------------------------------------------- timm's networks with modules added
def attach(model, name, channels, factor=1.0):
    """The module `NAME.se` on what module `name`, or its last convolution `conv2d`, gives. A residual branch is
    scaled by `factor` before its sum, and the module sees the scaled branch."""
    owner = model.get_submodule(name)
    owner.se = Se(channels, channels // 16)
    end = getattr(owner, "conv2d", owner)
    end.register_forward_hook(lambda _m, _i, out: owner.se(out * factor) / factor)


def tapped(model, stages):
    """Adds `points` to a model: `stages` are the modules whose outputs are the stem and the stages."""
    labels = ["stem"] + [f"stage{i}" for i in range(1, len(stages))]
    found = {label: (name, torch.Tensor.clone) for label, name in zip(labels, stages)}
    model.points = lambda: found | {k: v for k, v in points(model).items() if k.startswith("gate.")}
    return model


def se_inception_v3():
    model = timm.create_model("inception_v3")
    widths = {"5b": 256, "5c": 288, "5d": 288, "6a": 768, "6b": 768, "6c": 768, "6d": 768, "6e": 768, "7a": 1280,
              "7b": 2048, "7c": 2048}
    for name, channels in widths.items():
        attach(model, f"Mixed_{name}", channels)
    return tapped(model, ["Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"])


def se_inception_resnet_v2():
    model = timm.create_model("inception_resnet_v2")
    for name, count, channels, factor in (("repeat", 10, 320, 0.17), ("repeat_1", 20, 1088, 0.10),
                                          ("repeat_2", 9, 2080, 0.20)):
        for n in range(count):
            attach(model, f"{name}.{n}", channels, factor)
    attach(model, "block8", 2080)
    return tapped(model, ["conv2d_2b", "conv2d_4a", "repeat", "repeat_1", "conv2d_7b"])


def se_vgg16_bn():
    model = timm.create_model("vgg16_bn")
    layers, ends = [], []
    for layer in model.features:
        if isinstance(layer, nn.MaxPool2d):
            ends.append(len(layers) - 1)
        layers.append(layer)
        if isinstance(layer, nn.ReLU):
            channels = layers[-2].num_features
            layers.append(Se(channels, channels // 16))
    model.features = nn.Sequential(*layers)
    return tapped(model, ["features.2"] + [f"features.{end}" for end in ends] + ["pre_logits"])


# ---------------------------------------------------------------- SE-MobileNet v1 (arXiv:1704.04861, table 1)
class Separable(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = Se(outputs, outputs // 16, ("conv_reduce", "conv_expand"))

    def forward(self, x):
        return self.se(F.relu(self.bn2(self.conv_pw(F.relu(self.bn1(self.conv_dw(x)))))))


class SeMobileNetV1(nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.stem = Tap()
        stages, inputs = [], 32
        for outputs, count, stride in ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2)):
            blocks = [Separable(inputs if n == 0 else outputs, outputs, stride if n == 0 else 1) for n in range(count)]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.stem(F.relu(self.bn1(self.conv_stem(x))))
        return self.classifier(self.blocks(x).mean((2, 3)))


def se_mobilenetv1():
    return tapped(SeMobileNetV1(), ["stem"] + [f"blocks.{n}" for n in range(5)])


# ---------------------------------------------------------------- SE-ShuffleNet v1 (arXiv:1707.01083, 3 groups)
class ShuffleUnit(nn.Module):
    """The names are those of pytorchcv's `shufflenet.py`. A unit of stride 2 joins its branch and the pooled input."""

    def __init__(self, inputs, outputs, stride, groups=3, first_groups=3):
        super().__init__()
        self.stride, self.groups, width = stride, groups, outputs // 4
        if stride == 2:
            outputs -= inputs
        self.compress_conv1 = nn.Conv2d(inputs, width, 1, groups=first_groups, bias=False)
        self.compress_bn1 = nn.BatchNorm2d(width)
        self.dw_conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.dw_bn2 = nn.BatchNorm2d(width)
        self.expand_conv3 = nn.Conv2d(width, outputs, 1, groups=groups, bias=False)
        self.expand_bn3 = nn.BatchNorm2d(outputs)
        self.se = Se(outputs, outputs // 16, ("conv1", "conv2"))

    def forward(self, x):
        y = F.relu(self.compress_bn1(self.compress_conv1(x)))
        n, c, h, w = y.shape
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.se(self.expand_bn3(self.expand_conv3(self.dw_bn2(self.dw_conv2(y)))))
        if self.stride == 1:
            return F.relu(x + y)
        return F.relu(torch.cat((y, F.avg_pool2d(x, 3, 2, 1)), 1))


class SeShuffleNetV1(nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        init = nn.Module()
        init.conv = nn.Conv2d(3, 24, 3, 2, 1, bias=False)
        init.bn = nn.BatchNorm2d(24)
        self.features = nn.Module()
        self.features.init_block, self.stem, inputs = init, Tap(), 24
        for stage, (outputs, count) in enumerate(((240, 4), (480, 8), (960, 4)), 1):
            units = nn.Sequential()
            for n in range(count):
                first = 1 if (stage, n) == (1, 0) else 3
                units.add_module(f"unit{n + 1}", ShuffleUnit(inputs, outputs, 2 if n == 0 else 1, first_groups=first))
                inputs = outputs
            self.features.add_module(f"stage{stage}", units)
        self.output = nn.Linear(inputs, classes)

    def forward(self, x):
        f = self.features
        x = self.stem(F.relu(f.init_block.bn(f.init_block.conv(x))))
        x = F.max_pool2d(x, 3, 2, 1)
        return self.output(f.stage3(f.stage2(f.stage1(x))).mean((2, 3)))


def se_shufflenetv1_g3():
    return tapped(SeShuffleNetV1(), ["stem"] + [f"features.stage{n}" for n in (1, 2, 3)])


HOSTS = {
    "se_bn_inception": SeBnInception,
    "se_inception_v3": se_inception_v3,
    "se_inception_resnet_v2": se_inception_resnet_v2,
    "se_vgg16_bn": se_vgg16_bn,
    "se_mobilenetv1": se_mobilenetv1,
    "se_shufflenetv1_g3": se_shufflenetv1_g3,
}
# Batch, height, width. Where branches of stride 2 end, only even maps give Caffe's pools and convolutions the same
# size; the Inception networks have few zeros around their maps; VGG's first linear layer spans 7x7 pixels.
SIZES = {
    "se_bn_inception": ((2, 97, 67), (1, 65, 131)),
    "se_inception_v3": ((2, 107, 96), (1, 75, 139)),
    "se_inception_resnet_v2": ((2, 107, 96), (1, 75, 139)),
    "se_vgg16_bn": ((2, 225, 240), (1, 257, 231)),
}
