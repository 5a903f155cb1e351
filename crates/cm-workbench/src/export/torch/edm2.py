"""The U-Net of EDM2 (Karras et al. 2024), as `cm` has it: what its layers normalise is normalised in the weights.

f = load(".")  # the folder with weights.pt and config.json
x = f.sigma_max * torch.randn(16, *f.shape)
images = f(x, torch.full((16,), f.sigma_max), torch.arange(16) % 10)  # of a model without classes: f(x, sigma)
Images are N, C, H, W, from -1 to 1. A diffusion model's f is D(x, sigma).
"""

import json

import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, outputs, side=3):
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)


def heads(c, channels):
    ((how, number),) = c["heads"].items()
    return number if how == "Count" else channels // number


def main_scale(balance):
    return (1 - balance) / ((1 - balance) ** 2 + balance**2) ** 0.5


def pixel_norm(x, groups=1):
    """Each pixel's channels, in groups, over their root mean square."""
    n, c, h, w = x.shape
    x = x.reshape(n, groups, c // groups, h, w)
    return (x / (1e-4 + x.norm(dim=2, keepdim=True) / (c // groups) ** 0.5)).reshape(n, c, h, w)


def resampled(x, how, fir):
    if how is None or not fir:
        return F.avg_pool2d(x, 2) if how == "down" else F.interpolate(x, scale_factor=2.0) if how == "up" else x
    row = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device)
    kernel = (row[:, None] * row / 64).repeat(x.shape[1], 1, 1, 1)
    if how == "up":
        return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=x.shape[1])
    return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class Embedding(nn.Module):
    def __init__(self, waves, outputs, classes):
        super().__init__()
        self.waves, self.noise = waves, nn.Linear(len(waves["phases"]), outputs, bias=False)
        self.label = nn.Linear(classes, outputs, bias=False) if classes else None

    def forward(self, c_noise, label):
        f, p = (c_noise.new_tensor(self.waves[name], dtype=torch.float64) for name in ("frequencies", "phases"))
        x = self.noise(2**0.5 * torch.cos(c_noise.double()[:, None] * f + p).float())
        if self.label is not None:
            x = x + self.label(F.one_hot(label, self.label.in_features).float())
        return F.silu(x)


class Attention(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        self.heads, self.scale = heads(c, channels), main_scale(c["attention_balance"])
        self.qkv, self.proj = conv(channels, 3 * channels, 1), conv(channels, channels, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        parts = pixel_norm(self.qkv(x), 3 * self.heads).reshape(n, 3, self.heads, c // self.heads, h * w)
        mixed = F.scaled_dot_product_attention(*parts.transpose(-1, -2).unbind(1)).transpose(-1, -2)
        return self.scale * (x + self.proj(mixed.reshape(n, c, h, w)))


class Block(nn.Module):
    def __init__(self, c, down, inputs, outputs, resample=None, attends=False):
        super().__init__()
        self.down, self.how, self.clamp = down, (resample, c["resampling"] == "Fir"), c["clamp"]
        self.scale = main_scale(c["residual_balance"])
        self.conv0, self.conv1 = conv(outputs if down else inputs, outputs), conv(outputs, outputs)
        self.affine = nn.Linear(c["embedding"], outputs, bias=False)
        self.skip = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(c, outputs) if attends and heads(c, outputs) else nn.Identity()

    def forward(self, x, embedding):
        x = resampled(x, *self.how)
        if self.down:
            x = pixel_norm(self.skip(x))
        hidden = self.conv0(F.silu(x)) * (1 + self.affine(embedding)[:, :, None, None])
        x = x if self.down else self.skip(x)
        x = self.attention(self.scale * (x + self.conv1(F.silu(hidden))))
        return x.clamp(-self.clamp, self.clamp)


class Model(nn.Module):
    def __init__(self, card):
        super().__init__()
        c, self.shape = card["network"], (card["channels"], card["height"], card["width"])
        self.sigma_max, self.data, self.lowest = card["sigma_max"], card["sigma_data"], card["lowest"]
        (image, height, _), levels, self.balance = self.shape, list(enumerate(c["multipliers"])), c["concat_balance"]
        self.embedding = Embedding(card["waves"], c["embedding"], card["classes"])
        width = c["channels"] * c["multipliers"][0]
        self.input, kept = conv(image + 1, width), [width]
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()
        for level, multiplier in levels:
            stage = self.down[str(level)] = nn.ModuleDict()
            if level > 0:
                stage["resample"] = Block(c, True, width, width, "down")
                kept.append(width)
            for index in range(c["blocks"]):
                inputs, width = width, c["channels"] * multiplier
                stage[str(index)] = Block(c, True, inputs, width, None, height >> level in c["attention"])
                kept.append(width)
        self.middle = nn.ModuleList([Block(c, False, width, width, None, attends) for attends in (True, False)])
        for level, multiplier in reversed(levels):
            stage = self.up[str(level)] = nn.ModuleDict()
            if level + 1 < len(levels):
                stage["resample"] = Block(c, False, width, width, "up")
            for index in range(c["blocks"] + 1):
                inputs, width = width + kept.pop(), c["channels"] * multiplier
                stage[str(index)] = Block(c, False, inputs, width, None, height >> level in c["attention"])
        self.output = conv(width, image)

    def joined(self, a, b):
        """Two tensors side by side, each with its share of the magnitude (Equation 103)."""
        t, (na, nb) = self.balance, (a.shape[1], b.shape[1])
        whole = ((na + nb) / ((1 - t) ** 2 + t**2)) ** 0.5
        return torch.cat([whole / na**0.5 * (1 - t) * a, whole / nb**0.5 * t * b], 1)

    def network(self, x, c_noise, label):
        embedding, hidden = self.embedding(c_noise, label), self.input(torch.cat([x, torch.ones_like(x[:, :1])], 1))
        kept = [hidden]
        for block in (block for stage in self.down.values() for block in stage.values()):
            hidden = block(hidden, embedding)
            kept.append(hidden)
        hidden = self.middle[1](self.middle[0](hidden, embedding), embedding)
        for name, block in (item for stage in self.up.values() for item in stage.items()):
            hidden = block(hidden if name == "resample" else self.joined(hidden, kept.pop()), embedding)
        return self.output(hidden)
