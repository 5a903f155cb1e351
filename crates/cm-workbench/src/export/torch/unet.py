"""A U-Net in the manner of DDPM++ and NCSN++ (Song et al. 2021, Karras et al. 2022), as `cm` trained it.

f = load(".")  # the folder with weights.pt and config.json
x = f.sigma_max * torch.randn(16, *f.shape)
images = f(x, torch.full((16,), f.sigma_max), torch.arange(16) % 10)  # of a model without classes: f(x, sigma)
Images are N, C, H, W, from -1 to 1. A diffusion model's f is D(x, sigma).
"""

import json

import torch
import torch.nn.functional as F
from torch import nn


def norm(channels):
    most = max(1, min(32, channels // 4))
    return nn.GroupNorm(next(g for g in range(most, 0, -1) if channels % g == 0), channels, eps=1e-6)


def conv(inputs, outputs, side=3, stride=1, padding=None):
    return nn.Conv2d(inputs, outputs, side, stride, side // 2 if padding is None else padding)


def resampled(x, how, fir):
    """Half ("down") or twice ("up") the resolution, or the filter (1, 3, 3, 1) alone ("smooth")."""
    if how is None or not fir:
        return F.avg_pool2d(x, 2) if how == "down" else F.interpolate(x, scale_factor=2.0) if how == "up" else x
    row = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device)
    kernel = (row[:, None] * row / 64).repeat(x.shape[1], 1, 1, 1)
    if how == "up":
        return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=x.shape[1])
    return F.conv2d(x, kernel, stride=1 + (how == "down"), padding=1 + (how == "smooth"), groups=x.shape[1])


class Embedding(nn.Module):
    def __init__(self, waves, outputs, classes):
        super().__init__()
        self.waves, features = waves, len(waves["phases"])
        self.label = nn.Linear(classes, features, bias=False) if classes else None
        self.layer0, self.layer1 = nn.Linear(features, outputs), nn.Linear(outputs, outputs)

    def forward(self, c_noise, label):
        f, p = (c_noise.new_tensor(self.waves[name], dtype=torch.float64) for name in ("frequencies", "phases"))
        x = torch.cos(c_noise.double()[:, None] * f + p).float()
        if self.label is not None:
            x = x + self.label(F.one_hot(label, self.label.in_features).float())
        return F.silu(self.layer1(F.silu(self.layer0(x))))


class Attention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads, self.norm, self.qkv, self.proj = heads, norm(c), conv(c, 3 * c, 1), conv(c, c, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        parts = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(-1, -2)
        mixed = F.scaled_dot_product_attention(*parts.unbind(1)).transpose(-1, -2)
        return (x + self.proj(mixed.reshape(n, c, h, w))) * 0.5**0.5


class Block(nn.Module):
    def __init__(self, c, inputs, outputs, resample=None, attends=False):
        super().__init__()
        self.how, embedding = (resample, c["resampling"] == "Fir"), c["embedding_multiplier"] * c["channels"]
        self.norm0, self.conv0, self.affine = norm(inputs), conv(inputs, outputs), nn.Linear(embedding, outputs)
        self.film_scale = nn.Linear(embedding, outputs) if c["film"] else None
        self.norm1, self.conv1 = norm(outputs), conv(outputs, outputs)
        self.skip = conv(inputs, outputs, 1) if inputs != outputs or resample else nn.Identity()
        self.attention = Attention(outputs, c["heads"]) if attends else nn.Identity()

    def forward(self, x, embedding):
        hidden = self.conv0(resampled(F.silu(self.norm0(x)), *self.how))
        shift = self.affine(embedding)[:, :, None, None]
        scale = 1 + self.film_scale(embedding)[:, :, None, None] if self.film_scale else None
        hidden = self.norm1(hidden + shift) if scale is None else self.norm1(hidden) * scale + shift
        return self.attention((self.skip(resampled(x, *self.how)) + self.conv1(F.silu(hidden))) * 0.5**0.5)


class Model(nn.Module):
    def __init__(self, card):
        super().__init__()
        c, self.shape = card["network"], (card["channels"], card["height"], card["width"])
        self.sigma_max, self.data, self.lowest = card["sigma_max"], card["sigma_data"], card["lowest"]
        (image, height, _), width, self.fir = self.shape, c["channels"], c["resampling"] == "Fir"
        self.embedding = Embedding(card["waves"], c["embedding_multiplier"] * width, card["classes"])
        self.input, kept, joining, levels = conv(image, width), [width], image, list(enumerate(c["multipliers"]))
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()
        for level, multiplier in levels:
            stage = self.down[str(level)] = nn.ModuleDict()
            if level > 0:
                stage["resample"] = Block(c, width, width, "down")
                if c["input_pyramid"]:
                    stage["pyramid"] = conv(joining, width, 3, 1 + self.fir, 1 - self.fir)
                    joining = width
                elif c["input_skip"]:
                    stage["input_skip"] = conv(image, width, 1)
                kept.append(width)
            for index in range(c["blocks"]):
                attends, inputs, width = height >> level in c["attention"], width, c["channels"] * multiplier
                stage[str(index)] = Block(c, inputs, width, None, attends)
                kept.append(width)
        self.middle = nn.ModuleList([Block(c, width, width, None, True), Block(c, width, width)])
        for level, multiplier in reversed(levels):
            stage = self.up[str(level)] = nn.ModuleDict()
            if level + 1 < len(levels):
                stage["resample"] = Block(c, width, width, "up")
            for index in range(c["blocks"] + 1):
                attends = index == c["blocks"] and height >> level in c["attention"]
                inputs, width = width + kept.pop(), c["channels"] * multiplier
                stage[str(index)] = Block(c, inputs, width, None, attends)
            if level > 0 and c["output_skip"]:
                stage["output"] = nn.ModuleDict({"norm": norm(width), "conv": conv(width, image)})
        self.output = nn.ModuleDict({"norm": norm(width), "conv": conv(width, image)})

    def network(self, x, c_noise, label):
        embedding, hidden, reduced = self.embedding(c_noise, label), self.input(x), x
        kept, out = [hidden], None
        for name, block in (item for stage in self.down.values() for item in stage.items()):
            if name == "pyramid":
                joining = block(resampled(reduced, "smooth", True)) if self.fir else F.avg_pool2d(block(reduced), 2)
                hidden = kept[-1] = reduced = (hidden + joining) * 0.5**0.5
            elif name == "input_skip":
                reduced = resampled(reduced, "down", self.fir)
                hidden = kept[-1] = hidden + block(reduced)
            else:
                hidden = block(hidden, embedding)
                kept.append(hidden)
        hidden = self.middle[1](self.middle[0](hidden, embedding), embedding)
        for name, block in [item for stage in self.up.values() for item in stage.items()] + [("output", self.output)]:
            if name == "output":
                image = block["conv"](F.silu(block["norm"](hidden)))
                out = image if out is None else image + resampled(out, "up", self.fir)
            else:
                hidden = block(hidden if name == "resample" else torch.cat([hidden, kept.pop()], 1), embedding)
        return out
