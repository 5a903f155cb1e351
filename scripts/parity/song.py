"""NCSN++ and DDPM++ for CIFAR-10 in PyTorch, modules named as in the Flax checkpoints. Written from the papers' facts.

Images are NCHW; `time` is 0.25 ln sigma. `flax_tree` gives the parameters in Flax's names and layouts.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

SQRT_HALF = math.sqrt(0.5)
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])


def norm(channels):
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


def filtered(x, gain, padding):
    """x through the outer product of the taps, over zeros on the sides."""
    channels = x.shape[1]
    kernel = (torch.outer(TAPS, TAPS) / 64 * gain).to(x).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(x, (*padding, *padding)), kernel, groups=channels)


def fir_up(x):
    n, c, h, w = x.shape
    zeros = x.new_zeros(n, c, h, 2, w, 2)
    zeros[:, :, :, 0, :, 0] = x
    return filtered(zeros.reshape(n, c, 2 * h, 2 * w), 4, (2, 1))


def fir_down(x):
    return filtered(x, 1, (1, 1))[:, :, ::2, ::2]


class Residual(nn.Module):
    def __init__(self, inputs, outputs, embedding, resample=None, fir=False):
        super().__init__()
        self.resample, self.fir = resample, fir
        self.GroupNorm_0 = norm(inputs)
        self.Conv_0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.Dense_0 = nn.Linear(embedding, outputs)
        self.GroupNorm_1 = norm(outputs)
        self.Conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs or resample:
            self.Conv_2 = nn.Conv2d(inputs, outputs, 1)

    def resampled(self, x):
        if self.resample == "down":
            return fir_down(x) if self.fir else F.avg_pool2d(x, 2)
        if self.resample == "up":
            return fir_up(x) if self.fir else F.interpolate(x, scale_factor=2, mode="nearest")
        return x

    def forward(self, x, embedding):
        hidden = self.Conv_0(self.resampled(F.silu(self.GroupNorm_0(x))))
        hidden = hidden + self.Dense_0(F.silu(embedding))[:, :, None, None]
        hidden = self.Conv_1(F.silu(self.GroupNorm_1(hidden)))
        x = self.resampled(x)
        if hasattr(self, "Conv_2"):
            x = self.Conv_2(x)
        return (x + hidden) * SQRT_HALF


class Nin(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.W = nn.Parameter(torch.randn(channels, channels) / math.sqrt(channels))
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return torch.einsum("nchw,cd->ndhw", x, self.W) + self.b[:, None, None]


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.GroupNorm_0 = norm(channels)
        self.NIN_0, self.NIN_1, self.NIN_2, self.NIN_3 = (Nin(channels) for _ in range(4))

    def forward(self, x):
        n, c, h, w = x.shape
        normal = self.GroupNorm_0(x)
        q, k, v = (part(normal).reshape(n, c, h * w) for part in (self.NIN_0, self.NIN_1, self.NIN_2))
        weights = torch.softmax(torch.einsum("nci,ncj->nij", q, k) / math.sqrt(c), dim=-1)
        mixed = torch.einsum("nij,ncj->nci", weights, v).reshape(n, c, h, w)
        return (x + self.NIN_3(mixed)) * SQRT_HALF


class Song(nn.Module):
    def __init__(
        self,
        size=32,
        image_channels=3,
        channels=128,
        multipliers=(2, 2, 2),
        blocks=4,
        attention=(16,),
        ncsnpp=True,
        fourier_scale=16.0,
    ):
        super().__init__()
        self.channels, self.ncsnpp = channels, ncsnpp
        wide = 4 * channels
        if ncsnpp:
            self.GaussianFourierProjection_0 = nn.Module()
            self.GaussianFourierProjection_0.W = nn.Parameter(
                fourier_scale * torch.randn(channels), requires_grad=False
            )
        self.Dense_0 = nn.Linear((2 if ncsnpp else 1) * channels, wide)
        self.Dense_1 = nn.Linear(wide, wide)
        self.Conv_0 = nn.Conv2d(image_channels, channels, 3, padding=1)
        self.steps = []
        counts = {"ResnetBlockBigGANpp": 0, "AttnBlockpp": 0, "Downsample": 0}

        def add(kind, module):
            name = f"{kind}_{counts[kind]}"
            counts[kind] += 1
            self.add_module(name, module)
            return name

        def residual(inputs, outputs, resample=None):
            block = Residual(inputs, outputs, wide, resample, ncsnpp)
            self.steps.append(("block", add("ResnetBlockBigGANpp", block)))

        def attend(width):
            self.steps.append(("attention", add("AttnBlockpp", Attention(width))))

        kept, width, pyramid = [channels], channels, image_channels
        for level, multiplier in enumerate(multipliers):
            if level > 0:
                residual(width, width, "down")
                if ncsnpp:
                    down = nn.Module()
                    down.Conv2d_0 = nn.Conv2d(pyramid, width, 3, stride=2)
                    self.steps.append(("pyramid", add("Downsample", down)))
                    pyramid = width
                self.steps.append(("keep", None))
                kept.append(width)
            for _ in range(blocks):
                residual(width, channels * multiplier)
                width = channels * multiplier
                if size >> level in attention:
                    attend(width)
                self.steps.append(("keep", None))
                kept.append(width)
        residual(width, width)
        attend(width)
        residual(width, width)
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for _ in range(blocks + 1):
                self.steps.append(("join", None))
                residual(width + kept.pop(), channels * multiplier)
                width = channels * multiplier
            if size >> level in attention:
                attend(width)
            if level > 0:
                residual(width, width, "up")
        self.GroupNorm_0 = norm(width)
        self.Conv_1 = nn.Conv2d(width, image_channels, 3, padding=1)

    def forward(self, x, time, labels=None):
        if self.ncsnpp:
            angles = 2 * math.pi * time[:, None] * self.GaussianFourierProjection_0.W
        else:
            half = self.channels // 2
            angles = time[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        embedding = self.Dense_1(F.silu(self.Dense_0(waves)))
        pyramid = x
        hidden = self.Conv_0(x)
        kept = [hidden]
        for kind, name in self.steps:
            if kind == "block":
                hidden = getattr(self, name)(hidden, embedding)
            elif kind == "attention":
                hidden = getattr(self, name)(hidden)
            elif kind == "pyramid":
                pyramid = getattr(self, name).Conv2d_0(filtered(pyramid, 1, (2, 2)))
                hidden = pyramid = (pyramid + hidden) * SQRT_HALF
            elif kind == "keep":
                kept.append(hidden)
            else:
                hidden = torch.cat([hidden, kept.pop()], dim=1)
        return self.Conv_1(F.silu(self.GroupNorm_0(hidden)))


def flax_tree(arrays):
    """Arrays by PyTorch's names as Flax's nested dictionary: kernels HWIO and [in, out], scales for norms."""
    tree = {}
    for name, value in arrays.items():
        *path, last = name.split(".")
        at = tree
        for part in path:
            at = at.setdefault(part, {})
        owner = path[-1]
        if value.dim() == 4:
            value = value.permute(2, 3, 1, 0)
        elif value.dim() == 2 and owner.startswith("Dense"):
            value = value.T
        if last == "weight" and owner.startswith("GroupNorm"):
            last = "scale"
        elif last == "weight" and not owner.startswith("Conv2d"):
            last = "kernel"
        at[last] = value.detach().numpy().copy()
    return tree
