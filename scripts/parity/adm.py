"""The U-Net of ADM in PyTorch, under the key names of the released weights. Written from the papers' facts.

Images are NCHW in [-1, 1] times c_in; `time` is what the released weights take: 1000 x 0.25 ln sigma.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def norm(channels):
    return nn.GroupNorm(32, channels, eps=1e-5)


class Residual(nn.Module):
    def __init__(self, inputs, outputs, embedding, scale_shift, resample=None):
        super().__init__()
        self.resample, self.scale_shift = resample, scale_shift
        self.in_layers = nn.Sequential(norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, (2 if scale_shift else 1) * outputs))
        self.out_layers = nn.Sequential(
            norm(outputs), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip_connection = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def resampled(self, x):
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return x

    def forward(self, x, embedding):
        normal, act, conv = self.in_layers
        hidden = conv(self.resampled(act(normal(x))))
        embedded = self.emb_layers(embedding)[:, :, None, None]
        normal, *rest = self.out_layers
        if self.scale_shift:
            scale, shift = embedded.chunk(2, dim=1)
            hidden = normal(hidden) * (1 + scale) + shift
        else:
            hidden = normal(hidden + embedded)
        for layer in rest:
            hidden = layer(hidden)
        return self.skip_connection(self.resampled(x)) + hidden


class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x, _):
        n, c, h, w = x.shape
        # All queries, then all keys, then all values.
        parts = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(-1, -2)
        mixed = F.scaled_dot_product_attention(*parts.unbind(1))
        return x + self.proj_out(mixed.transpose(-1, -2).reshape(n, c, h, w))


class Down(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x, _):
        return self.op(x)


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, _):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class First(nn.Conv2d):
    def forward(self, x, _):
        return super().forward(x)


class Adm(nn.Module):
    def __init__(
        self,
        size=64,
        image_channels=3,
        channels=192,
        multipliers=(1, 2, 3, 4),
        blocks=3,
        attention=(32, 16, 8),
        head_channels=64,
        scale_shift=True,
        resample_in_blocks=True,
        classes=None,
    ):
        super().__init__()
        wide = 4 * channels
        self.channels = channels
        self.time_embed = nn.Sequential(nn.Linear(channels, wide), nn.SiLU(), nn.Linear(wide, wide))
        if classes:
            self.label_emb = nn.Embedding(classes, wide)

        def residual(inputs, outputs, resample=None):
            return Residual(inputs, outputs, wide, scale_shift, resample)

        def attend(width):
            return Attention(width, width // head_channels)

        kept, width = [channels], channels
        inputs = [[First(image_channels, channels, 3, padding=1)]]
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                layers = [residual(width, channels * multiplier)]
                width = channels * multiplier
                if size >> level in attention:
                    layers.append(attend(width))
                inputs.append(layers)
                kept.append(width)
            if level + 1 < len(multipliers):
                inputs.append([residual(width, width, "down") if resample_in_blocks else Down(width)])
                kept.append(width)
        self.middle_block = nn.ModuleList([residual(width, width), attend(width), residual(width, width)])
        outputs = []
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for index in range(blocks + 1):
                layers = [residual(width + kept.pop(), channels * multiplier)]
                width = channels * multiplier
                if size >> level in attention:
                    layers.append(attend(width))
                if level > 0 and index == blocks:
                    layers.append(residual(width, width, "up") if resample_in_blocks else Up(width))
                outputs.append(layers)
        self.input_blocks = nn.ModuleList(nn.ModuleList(layers) for layers in inputs)
        self.output_blocks = nn.ModuleList(nn.ModuleList(layers) for layers in outputs)
        self.out = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, image_channels, 3, padding=1))

    def forward(self, x, time, labels=None):
        half = self.channels // 2
        powers = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
        angles = time[:, None] * powers
        embedding = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        if labels is not None:
            embedding = embedding + self.label_emb(labels)
        kept = []
        for layers in self.input_blocks:
            for layer in layers:
                x = layer(x, embedding)
            kept.append(x)
        for layer in self.middle_block:
            x = layer(x, embedding)
        for layers in self.output_blocks:
            x = torch.cat([x, kept.pop()], dim=1)
            for layer in layers:
                x = layer(x, embedding)
        return self.out(x)
