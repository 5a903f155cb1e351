#!/usr/bin/env python3
"""LPIPS with random weights, for crates/cm-network and `cm lpips`.

    python scripts/parity/perceptual.py small tests/fixtures/parity/lpips.safetensors
    python scripts/parity/perceptual.py full target/lpips

`small` writes three trunks of the right structure with a few channels, and distances and their gradients by the first
image. `full` writes weights of the full size, two npz with images, and the distances by the packages lpips and piq, to
be compared with `cm lpips`. Needs torch, torchvision, safetensors and, for full, lpips and piq.
"""

import os
import sys
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

TAPS = {"vgg": [3, 8, 15, 22, 29], "alex": [1, 4, 7, 9, 11], "squeeze": [1, 4, 7, 9, 10, 11, 12]}
SHIFT, SCALE = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])


class Fire(nn.Module):
    def __init__(self, c, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(c, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


def trunk(name, w):
    """`features` of torchvision's network with w(channels) channels, and the channels of its taps."""
    if name == "vgg":
        layers, c, taps = [], 3, []
        for stage, (channels, count) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
            layers += [nn.MaxPool2d(2, 2)] if stage else []
            for _ in range(count):
                layers += [nn.Conv2d(c, w(channels), 3, padding=1), nn.ReLU()]
                c = w(channels)
            taps.append(c)
        return nn.Sequential(*layers), taps
    if name == "alex":
        a, b, c, d = w(64), w(192), w(384), w(256)
        layers = [nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        layers += [nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        for i, o in [(b, c), (c, d), (d, d)]:
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers), [a, b, c, d, d]
    pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
    layers = [nn.Conv2d(3, w(64), 3, 2), nn.ReLU(), pool()]
    c, taps = w(64), [w(64)]
    for squeeze, expand, count in [(16, 64, 2), (32, 128, 2), (48, 192, 2), (64, 256, 2)]:
        for _ in range(count):
            layers.append(Fire(c, w(squeeze), w(expand)))
            c = 2 * w(expand)
            if (squeeze, _) in [(16, 1), (32, 1)] or squeeze >= 48:
                taps.append(c)
        layers += [pool()] if squeeze in (16, 32) else []
    return nn.Sequential(*layers), taps


def distance(name, features, heads, version, average, resize, x, y):
    """Zhang et al. 2018, Equation 1, step by step."""

    def maps(x):
        if resize and x.shape[-1] < 256:
            x = F.interpolate(x, size=(224, 224), mode="bilinear", align_corners=False)
        if version == "0.1":
            x = (x - SHIFT.to(x).view(1, 3, 1, 1)) / SCALE.to(x).view(1, 3, 1, 1)
        taken = []
        for index, layer in enumerate(features):
            x = F.avg_pool2d(x, 2, 2) if average and isinstance(layer, nn.MaxPool2d) else layer(x)
            if index in TAPS[name]:
                taken.append(x)
        return taken

    total = 0
    for a, b, head in zip(maps(x), maps(y), heads):
        a, b = (f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in (a, b))
        total = total + (head.to(a).view(1, -1, 1, 1) * (a - b) ** 2).sum(1).mean((1, 2))
    return total


def randomise(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.normal_(0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.data.normal_(0, 0.1, generator=generator)
    return module.eval()


def pattern(count, height, width, salt):
    """Images by a formula that is exact in single precision, [N, 3, H, W]."""
    n, c, y, x = torch.meshgrid(*map(torch.arange, (count, 3, height, width)), indexing="ij")
    return ((17 * n + 31 * c + 5 * y * y + 7 * x * (y + 3) + salt * (x + 2 * y)) % 64).float() / 32 - 1


CASES = [
    # name, divisor of channels, version, average pooling, resize, height, width
    ("vgg", 32, "0.1", True, True, 18, 20),
    ("vgg", 32, "0.1", False, False, 25, 33),
    ("vgg", 32, "0.0", False, False, 17, 18),
    ("alex", 24, "0.1", False, False, 33, 35),
    ("squeeze", 16, "0.1", False, False, 27, 29),
]


def small(path):
    arrays = {}
    for case, (name, divisor, version, average, resize, height, width) in enumerate(CASES):
        features, taps = trunk(name, lambda channels: max(channels // divisor, 2))
        randomise(features, 1)
        generator = torch.Generator().manual_seed(2)
        heads = [torch.rand(c, generator=generator) for c in taps]
        x, y = (pattern(2, height, width, salt).double() for salt in (0, 11))
        x.requires_grad_()
        d = distance(name, features.double(), heads, version, average, resize, x, y)
        # Different factors, so that images cannot be mixed up.
        (d * torch.tensor([1.0, -2.0])).sum().backward()
        arrays |= {f"{name}/features.{k}": v.float() for k, v in features.state_dict().items()}
        arrays |= {f"{name}/lin{k}.model.1.weight": v.view(1, -1, 1, 1) for k, v in enumerate(heads)}
        arrays |= {f"case{case}/distance": d.detach().float()}
        arrays |= {f"case{case}/gradient": x.grad.permute(0, 2, 3, 1).float().contiguous()}
    save_file(arrays, path, {"script": "scripts/parity/perceptual.py", "torch": torch.__version__.split("+")[0]})


def full(folder):
    import lpips
    import piq
    import torchvision

    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    b = np.clip(a + rng.normal(0, [[[[20]]], [[[60]]], [[[120]]]], a.shape), 0, 255).astype(np.uint8)
    np.savez(f"{folder}/a.npz", a)
    np.savez(f"{folder}/b.npz", b)
    x, y = (torch.from_numpy(v).permute(0, 3, 1, 2).float() / 127.5 - 1 for v in (a, b))
    for name in ["vgg", "alex", "squeeze"]:
        model = lpips.LPIPS(pretrained=False, pnet_rand=True, net=name, verbose=False)
        randomise(model, 3)
        for k, head in enumerate(model.lins):
            head.model[1].weight.data.uniform_(0, 1, generator=torch.Generator().manual_seed(k))
        state = {k: v.contiguous() for k, v in model.state_dict().items() if not k.startswith("lins.")}
        save_file(state, f"{folder}/{name}.safetensors")
        for version in ["0.0", "0.1"]:
            model.version = version
            with torch.no_grad():
                print(f"lpips {name} {version} max, not resized:", model(x, y).flatten().tolist())
    saved = load_file(f"{folder}/vgg.safetensors")
    network = torchvision.models.vgg16(weights=None)
    network.features.load_state_dict({k.split(".", 2)[2]: v for k, v in saved.items() if k.startswith("net.")})
    heads = [saved[f"lin{k}.model.1.weight"] for k in range(5)]
    with mock.patch("torch.hub.load_state_dict_from_url", return_value=heads):
        with mock.patch("piq.perceptual.vgg16", return_value=network):
            metric = piq.LPIPS(replace_pooling=True, reduction="none")
    up = [F.interpolate((v + 1) / 2, size=224, mode="bilinear", align_corners=False) for v in (x, y)]
    with torch.no_grad():
        print("piq vgg 0.1 average, resized:", metric(*up).flatten().tolist())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["small", path]:
            small(path)
        case ["full", folder]:
            full(folder)
        case _:
            sys.exit(__doc__)
