"""The U-Net of ADM (Dhariwal and Nichol 2021), as `cm` trained it.

f = load(".")  # the folder with weights.pt and config.json
x = f.sigma_max * torch.randn(16, *f.shape)
images = f(x, torch.full((16,), f.sigma_max), torch.arange(16) % 10)  # of a model without classes: f(x, sigma)
Images are N, C, H, W, from -1 to 1. A diffusion model's f is D(x, sigma).
"""

import json

import torch
import torch.nn.functional as F
from torch import nn


def norm(c, channels):
    most = max(1, min(32, channels // 4)) if c["small_groups"] else 32
    return nn.GroupNorm(next(g for g in range(most, 0, -1) if channels % g == 0), channels, eps=1e-5)


def conv(inputs, outputs, side=3, stride=1):
    return nn.Conv2d(inputs, outputs, side, stride, side // 2)


def heads(c, channels):
    ((how, number),) = c["heads"].items()
    return number if how == "Count" else channels // number


class Embedding(nn.Module):
    def __init__(self, waves, outputs, classes):
        super().__init__()
        self.waves, features = waves, len(waves["phases"])
        self.layer0, self.layer1 = nn.Linear(features, outputs), nn.Linear(outputs, outputs)
        self.label = nn.Linear(classes, outputs, bias=False) if classes else None

    def forward(self, c_noise, label):
        # In double precision: angles are large, and only what is left of them counts.
        f, p = (c_noise.new_tensor(self.waves[name], dtype=torch.float64) for name in ("frequencies", "phases"))
        x = torch.cos(c_noise.double()[:, None] * f + p).float()
        x = self.layer1(F.silu(self.layer0(x)))
        if self.label is not None:
            x = x + self.label(F.one_hot(label, self.label.in_features).float())
        return F.silu(x)


class Attention(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        self.heads, self.norm = heads(c, channels), norm(c, channels)
        self.qkv, self.proj = conv(channels, 3 * channels, 1), conv(channels, channels, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        parts = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(-1, -2)
        mixed = F.scaled_dot_product_attention(*parts.unbind(1)).transpose(-1, -2)
        return x + self.proj(mixed.reshape(n, c, h, w))


def resampled(x, how):
    return F.avg_pool2d(x, 2) if how == "down" else F.interpolate(x, scale_factor=2.0) if how == "up" else x


class Block(nn.Module):
    def __init__(self, c, inputs, outputs, resample=None, attends=False):
        super().__init__()
        self.resample, embedding = resample, c["embedding_multiplier"] * c["channels"]
        self.norm0, self.conv0, self.affine = norm(c, inputs), conv(inputs, outputs), nn.Linear(embedding, outputs)
        self.film_scale = nn.Linear(embedding, outputs) if c["scale_shift"] else None
        self.norm1, self.conv1 = norm(c, outputs), conv(outputs, outputs)
        self.skip = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(c, outputs) if attends and heads(c, outputs) else nn.Identity()

    def forward(self, x, embedding):
        hidden = self.conv0(resampled(F.silu(self.norm0(x)), self.resample))
        shift = self.affine(embedding)[:, :, None, None]
        scale = 1 + self.film_scale(embedding)[:, :, None, None] if self.film_scale else None
        hidden = self.norm1(hidden + shift) if scale is None else self.norm1(hidden) * scale + shift
        return self.attention(self.skip(resampled(x, self.resample)) + self.conv1(F.silu(hidden)))


class Resample(nn.Module):
    """A resolution that changes by a convolution."""

    def __init__(self, width, how):
        super().__init__()
        self.up, self.conv = how == "up", conv(width, width, 3, 1 if how == "up" else 2)

    def forward(self, x, embedding):
        return self.conv(resampled(x, "up") if self.up else x)


class Model(nn.Module):
    def __init__(self, card):
        super().__init__()
        c, self.shape = card["network"], (card["channels"], card["height"], card["width"])
        self.sigma_max, self.data, self.lowest = card["sigma_max"], card["sigma_data"], card["lowest"]
        (image, height, _), levels = self.shape, list(enumerate(c["multipliers"]))
        self.embedding = Embedding(card["waves"], c["embedding_multiplier"] * c["channels"], card["classes"])
        width = c["channels"] * c["multipliers"][0]
        self.input, kept = conv(image, width), [width]
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()

        def change(how):
            return Block(c, width, width, how) if c["resample_in_blocks"] else Resample(width, how)

        for level, multiplier in levels:
            stage = self.down[str(level)] = nn.ModuleDict()
            if level > 0:
                stage["resample"] = change("down")
                kept.append(width)
            for index in range(c["blocks"]):
                inputs, width = width, c["channels"] * multiplier
                stage[str(index)] = Block(c, inputs, width, None, height >> level in c["attention"])
                kept.append(width)
        self.middle = nn.ModuleList([Block(c, width, width, None, True), Block(c, width, width)])
        for level, multiplier in reversed(levels):
            stage = self.up[str(level)] = nn.ModuleDict()
            if level + 1 < len(levels):
                stage["resample"] = change("up")
            for index in range(c["blocks"] + 1):
                inputs, width = width + kept.pop(), c["channels"] * multiplier
                stage[str(index)] = Block(c, inputs, width, None, height >> level in c["attention"])
        self.output = nn.ModuleDict({"norm": norm(c, width), "conv": conv(width, image)})

    def network(self, x, c_noise, label):
        embedding, hidden = self.embedding(c_noise, label), self.input(x)
        kept = [hidden]
        for block in (block for stage in self.down.values() for block in stage.values()):
            hidden = block(hidden, embedding)
            kept.append(hidden)
        hidden = self.middle[1](self.middle[0](hidden, embedding), embedding)
        for name, block in (item for stage in self.up.values() for item in stage.items()):
            hidden = block(hidden if name == "resample" else torch.cat([hidden, kept.pop()], 1), embedding)
        return self.output["conv"](F.silu(self.output["norm"](hidden)))
