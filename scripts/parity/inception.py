#!/usr/bin/env python3
"""FID's Inception network with random weights, for crates/cm-network and `cm stats`.

    python scripts/parity/inception.py small tests/fixtures/parity/inception.safetensors
    python scripts/parity/inception.py full target/inception
    python scripts/parity/inception.py time 8

`small` writes a network of the same structure with a thirty-second of the channels, and what it makes of two images.
`full` writes weights of the full size, images as an npz and the features by the package pytorch-fid itself, to be
compared with `cm stats --features inception:...`. `time` times the package's network on so many images at a time.
Needs torch, torchvision, safetensors and, for full and time, pytorch-fid.
"""

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


class Conv(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def mean3(x):
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class A(nn.Module):
    def __init__(self, c, pool, w):
        super().__init__()
        self.branch1x1 = Conv(c, w(64), 1)
        self.branch5x5_1 = Conv(c, w(48), 1)
        self.branch5x5_2 = Conv(w(48), w(64), 5, padding=2)
        self.branch3x3dbl_1 = Conv(c, w(64), 1)
        self.branch3x3dbl_2 = Conv(w(64), w(96), 3, padding=1)
        self.branch3x3dbl_3 = Conv(w(96), w(96), 3, padding=1)
        self.branch_pool = Conv(c, w(pool), 1)
        self.outputs = w(64) + w(64) + w(96) + w(pool)

    def forward(self, x):
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(mean3(x))], 1)


class B(nn.Module):
    def __init__(self, c, w):
        super().__init__()
        self.branch3x3 = Conv(c, w(384), 3, 2)
        self.branch3x3dbl_1 = Conv(c, w(64), 1)
        self.branch3x3dbl_2 = Conv(w(64), w(96), 3, padding=1)
        self.branch3x3dbl_3 = Conv(w(96), w(96), 3, 2)
        self.outputs = w(384) + w(96) + c

    def forward(self, x):
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class C(nn.Module):
    def __init__(self, c, seven, w):
        super().__init__()
        s = w(seven)
        row, column = dict(kernel=(1, 7), padding=(0, 3)), dict(kernel=(7, 1), padding=(3, 0))
        self.branch1x1 = Conv(c, w(192), 1)
        self.branch7x7_1 = Conv(c, s, 1)
        self.branch7x7_2 = Conv(s, s, **row)
        self.branch7x7_3 = Conv(s, w(192), **column)
        self.branch7x7dbl_1 = Conv(c, s, 1)
        self.branch7x7dbl_2 = Conv(s, s, **column)
        self.branch7x7dbl_3 = Conv(s, s, **row)
        self.branch7x7dbl_4 = Conv(s, s, **column)
        self.branch7x7dbl_5 = Conv(s, w(192), **row)
        self.branch_pool = Conv(c, w(192), 1)
        self.outputs = 4 * w(192)

    def forward(self, x):
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_1(x)
        for layer in (self.branch7x7dbl_2, self.branch7x7dbl_3, self.branch7x7dbl_4, self.branch7x7dbl_5):
            double = layer(double)
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(mean3(x))], 1)


class D(nn.Module):
    def __init__(self, c, w):
        super().__init__()
        self.branch3x3_1 = Conv(c, w(192), 1)
        self.branch3x3_2 = Conv(w(192), w(320), 3, 2)
        self.branch7x7x3_1 = Conv(c, w(192), 1)
        self.branch7x7x3_2 = Conv(w(192), w(192), (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Conv(w(192), w(192), (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Conv(w(192), w(192), 3, 2)
        self.outputs = w(320) + w(192) + c

    def forward(self, x):
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)


class E(nn.Module):
    def __init__(self, c, largest, w):
        super().__init__()
        row, column = dict(kernel=(1, 3), padding=(0, 1)), dict(kernel=(3, 1), padding=(1, 0))
        self.branch1x1 = Conv(c, w(320), 1)
        self.branch3x3_1 = Conv(c, w(384), 1)
        self.branch3x3_2a = Conv(w(384), w(384), **row)
        self.branch3x3_2b = Conv(w(384), w(384), **column)
        self.branch3x3dbl_1 = Conv(c, w(448), 1)
        self.branch3x3dbl_2 = Conv(w(448), w(384), 3, padding=1)
        self.branch3x3dbl_3a = Conv(w(384), w(384), **row)
        self.branch3x3dbl_3b = Conv(w(384), w(384), **column)
        self.branch_pool = Conv(c, w(192), 1)
        self.largest = largest
        self.outputs = w(320) + 4 * w(384) + w(192)

    def forward(self, x):
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.largest else mean3(x)
        branches = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
        branches += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(branches, 1)


class Inception(nn.Module):
    def __init__(self, w=lambda channels: channels, classes=1008):
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, w(32), 3, 2)
        self.Conv2d_2a_3x3 = Conv(w(32), w(32), 3)
        self.Conv2d_2b_3x3 = Conv(w(32), w(64), 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(w(64), w(80), 1)
        self.Conv2d_4a_3x3 = Conv(w(80), w(192), 3)
        c = w(192)
        for name, block in [
            ("Mixed_5b", lambda c: A(c, 32, w)),
            ("Mixed_5c", lambda c: A(c, 64, w)),
            ("Mixed_5d", lambda c: A(c, 64, w)),
            ("Mixed_6a", lambda c: B(c, w)),
            ("Mixed_6b", lambda c: C(c, 128, w)),
            ("Mixed_6c", lambda c: C(c, 160, w)),
            ("Mixed_6d", lambda c: C(c, 160, w)),
            ("Mixed_6e", lambda c: C(c, 192, w)),
            ("Mixed_7a", lambda c: D(c, w)),
            ("Mixed_7b", lambda c: E(c, False, w)),
            ("Mixed_7c", lambda c: E(c, True, w)),
        ]:
            module = block(c)
            setattr(self, name, module)
            c = module.outputs
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c"):
            x = getattr(self, f"Mixed_{name}")(x)
        # Channels last, as TensorFlow has them.
        spatial = self.Mixed_6d.branch1x1(x)[:, :7].permute(0, 2, 3, 1).reshape(len(x), -1)
        for name in ("6d", "6e", "7a", "7b", "7c"):
            x = getattr(self, f"Mixed_{name}")(x)
        features = x.mean((2, 3))
        return features, spatial, torch.softmax(features @ self.fc.weight.T, 1)


def randomise(model, seed):
    """Weights that keep the scale of activations; normalisations with means and variances of their own."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.7, 1.3, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(0, 1 / module.in_features**0.5, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
    return model.eval()


def package(model):
    """pytorch-fid's own network with the same weights."""
    from pytorch_fid import inception as package

    package.load_state_dict_from_url = lambda *_, **__: model.state_dict()
    return package.InceptionV3([3], resize_input=False, normalize_input=False).eval()


def pattern(count, height, width):
    """Images by a formula that is exact in single precision, [N, 3, H, W]."""
    n, c, y, x = torch.meshgrid(*map(torch.arange, (count, 3, height, width)), indexing="ij")
    return ((17 * n + 31 * c + 5 * y * y + 7 * x * (y + 3)) % 64).float() / 32 - 1


def small(path):
    # Eight where the spatial features come from, which are seven.
    model = randomise(Inception(lambda channels: 8 if channels == 192 else max(channels // 32, 2), classes=11), 1)
    images = pattern(2, 107, 91)
    with torch.no_grad():
        features, spatial, probabilities = model.double()(images.double())
    arrays = {f"net/{name}": value.float() for name, value in model.state_dict().items() if value.ndim > 0}
    arrays |= {
        "features": features.float(),
        "spatial": spatial.float(),
        "probabilities": probabilities.float(),
    }
    arrays = {name: value.contiguous() for name, value in arrays.items()}
    save_file(arrays, path, {"script": "scripts/parity/inception.py", "torch": torch.__version__.split("+")[0]})


def full(folder):
    import os

    os.makedirs(folder, exist_ok=True)
    model = randomise(Inception(), 1)
    images = np.random.default_rng(3).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    # Images that differ in more than noise.
    images = (images * np.linspace(0.2, 1, 24)[:, None, None, None]).astype(np.uint8)
    state = {name: value for name, value in model.state_dict().items() if value.ndim > 0}
    save_file(state, f"{folder}/weights.safetensors")
    np.savez(f"{folder}/images.npz", images)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    x = 2 * F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
    with torch.no_grad():
        ours, spatial, _ = model(x)
        theirs = package(model)(x)[0].reshape(len(x), -1)
    print("this script against pytorch-fid, largest relative:", float((ours - theirs).abs().max() / theirs.abs().max()))
    for name, rows in [("pool", theirs), ("spatial", spatial)]:
        rows = rows.double().numpy()
        np.savez(f"{folder}/{name}.npz", rows=rows, mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))


def timed(batch):
    model = package(randomise(Inception(), 1))
    x = torch.rand(batch, 3, 299, 299).to(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)
    with torch.no_grad():
        model(x)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            model(x)
            seconds.append(time.perf_counter() - start)
    print(f"pytorch-fid, {torch.get_num_threads()} threads, channels last: {batch / min(seconds):.2f} images/s at best")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["small", path]:
            small(path)
        case ["full", folder]:
            full(folder)
        case ["time", batch]:
            timed(int(batch))
        case _:
            sys.exit(__doc__)
