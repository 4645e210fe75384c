"""Class activation maps and gates for tests/library/explain.rs: what PyTorch's gradients say about timm's networks.

    python tests/tools/make_cam.py          # with the packages of make_golden.py, a minute

One JSON file, tests/data/cam.json, with an object for each network: weights and the image come from the formula of
make_golden.py. All values are from a run in double precision (10 significant digits).

    input        batch (1), channels, height, width
    classes      the classes that are explained; for each
    logits         the logit
    maps           cells x the sum over channels of gradient x map, where the gradient is that of the logit by the map
                   that is pooled, from autograd: no weight of the classifier is looked at
    biases         the logit less the mean of the map
    gates        of each module, in the order in which they run: name, mean, standard deviation, share below 0.1, the
                 first 8 values; of a selective-kernel unit, those of the second path
"""

import json

import torch
from make_golden import ROOT, build, formula_images, load_formula_weights, points, versions
from timm.layers import SelectAdaptivePool2d

NETWORKS = ("legacy_seresnet18", "skresnet18", "seresnet33ts", "regnety_002", "efficientnet_b0",
            "tf_mobilenetv3_small_100")
SIZE = (1, 160, 128)
CLASSES = (0, 3, 7)


def rounded(values):
    return [float(f"{value:.10g}") for value in values]


def explain(arch):
    model = build(arch)
    load_formula_weights(model)
    model.double()
    images = formula_images(*SIZE)
    seen = {}
    modules = dict(model.named_modules())
    for label, (name, convert) in points(model).items():
        if label.startswith("gate."):
            modules[name].register_forward_hook(
                lambda _m, _i, out, label=label, convert=convert: seen.__setitem__(label, convert(out.detach())))
    pool = next(m for m in model.modules() if isinstance(m, SelectAdaptivePool2d))

    def keep(_module, inputs):
        inputs[0].retain_grad()
        seen["map"] = inputs[0]

    pool.register_forward_pre_hook(keep)
    logits = model(images.double())[0]
    last = seen["map"]
    found = {"architecture": arch, "input": list(images.shape), "classes": list(CLASSES), "logits": [], "maps": [],
             "biases": []}
    for index in CLASSES:
        last.grad = None
        logits[index].backward(retain_graph=True)
        cells = last.shape[2] * last.shape[3]
        cam = cells * (last.grad * last).sum(1)[0].detach()
        found["logits"] += rounded([logits[index].item()])
        found["maps"].append([rounded(row) for row in cam.tolist()])
        found["biases"] += rounded([(logits[index] - cam.mean()).item()])
    gates = {label.removeprefix("gate."): gate for label, gate in seen.items() if label.startswith("gate.")}
    second = {name: gate[0, 1] if gate.dim() == 3 else gate[0] for name, gate in gates.items()}
    found["gates"] = [{"name": name, "first": rounded(g[:8].tolist())} | dict(zip(
        ("mean", "std", "closed"),
        rounded([g.mean().item(), g.std(unbiased=False).item(), (g < 0.1).double().mean().item()])))
        for name, g in second.items()]
    if not arch.startswith("tf_mobilenetv3"):  # its classifier follows another layer
        bias = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1].bias
        assert all(abs(bias[c].item() - b) < 1e-9 for c, b in zip(CLASSES, found["biases"]))
    print(arch, list(last.shape), found["logits"], found["biases"])
    return found


def main():
    networks = [explain(arch) for arch in NETWORKS]
    lines = ",\n ".join(json.dumps(network, separators=(",", ":")) for network in networks)
    head = json.dumps({"command": "python tests/tools/make_cam.py", "versions": versions()})
    (ROOT / "tests/data/cam.json").write_text(f"{head.removesuffix('}')}, \"networks\": [\n {lines}\n]}}\n")


if __name__ == "__main__":
    main()
