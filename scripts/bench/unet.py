"""The U-Net of `cm-network`, written in PyTorch as a PyTorch user would, with the same parameter names.

Only what `compare.py` needs: positional embedding, no labels, no second time, no FiLM, no dropout.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

SQRT_HALF = math.sqrt(0.5)


def group_norm(channels):
    """Up to 32 groups of at least 4 channels."""
    most = min(32, max(1, channels // 4))
    groups = next(g for g in range(most, 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        # Queries of all heads, then keys, then values: [n, 3, heads, c / heads, h w].
        q, k, v = (
            part.transpose(-1, -2)
            for part in self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).unbind(1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return (x + self.proj(mixed.transpose(-1, -2).reshape(n, c, h, w))) * SQRT_HALF


class ResidualBlock(nn.Module):
    def __init__(self, inputs, outputs, embedding, resample, attends, heads):
        super().__init__()
        self.resample = resample
        self.norm0 = group_norm(inputs)
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(embedding, outputs)
        self.norm1 = group_norm(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs or resample else None
        self.attention = Attention(outputs, heads) if attends else None

    def resampled(self, x):
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return x

    def shortcut(self, x):
        # A 1x1 projection commutes with resampling: done where there are fewer pixels.
        if self.skip is None:
            return self.resampled(x)
        if self.resample == "up":
            return self.resampled(self.skip(x))
        return self.skip(self.resampled(x))

    def forward(self, x, embedding):
        hidden = self.conv0(self.resampled(F.silu(self.norm0(x))))
        hidden = hidden + self.affine(embedding)[:, :, None, None]
        hidden = self.conv1(F.silu(self.norm1(hidden)))
        out = (self.shortcut(x) + hidden) * SQRT_HALF
        return out if self.attention is None else self.attention(out)


class Embedding(nn.Module):
    def __init__(self, channels, scale):
        super().__init__()
        half = channels // 2
        powers = torch.arange(half, dtype=torch.float64) / (half - 1)
        self.register_buffer("frequencies", (scale * 10_000.0**-powers).float(), persistent=False)
        self.layer0 = nn.Linear(channels, 4 * channels)
        self.layer1 = nn.Linear(4 * channels, 4 * channels)

    def forward(self, c_noise):
        angles = c_noise[:, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        return F.silu(self.layer1(F.silu(self.layer0(waves))))


class UNet(nn.Module):
    def __init__(self, height, image_channels, channels, multipliers, blocks, attention, scale, heads=1):
        super().__init__()

        def block(inputs, outputs, resample=None, attends=False):
            return ResidualBlock(inputs, outputs, 4 * channels, resample, attends, heads)

        self.embedding = Embedding(channels, scale)
        self.input = nn.Conv2d(image_channels, channels, 3, padding=1)
        kept, width = [channels], channels
        encoder, decoder = {}, {}
        for level, multiplier in enumerate(multipliers):
            attends = height >> level in attention
            if level > 0:
                encoder[f"{level}/resample"] = block(width, width, "down")
                kept.append(width)
            for index in range(blocks):
                encoder[f"{level}/{index}"] = block(width, channels * multiplier, None, attends)
                width = channels * multiplier
                kept.append(width)
        self.middle = nn.ModuleList([block(width, width, None, True), block(width, width)])
        for level, multiplier in reversed(list(enumerate(multipliers))):
            attends = height >> level in attention
            if level + 1 < len(multipliers):
                decoder[f"{level}/resample"] = block(width, width, "up")
            for index in range(blocks + 1):
                decoder[f"{level}/{index}"] = block(
                    width + kept.pop(), channels * multiplier, None, attends and index == blocks
                )
                width = channels * multiplier
        self.down, self.up = nn.ModuleDict(encoder), nn.ModuleDict(decoder)
        self.norm = group_norm(width)
        self.conv = nn.Conv2d(width, image_channels, 3, padding=1)

    def forward(self, x, c_noise):
        embedding = self.embedding(c_noise)
        hidden = self.input(x)
        kept = [hidden]
        for block in self.down.values():
            hidden = block(hidden, embedding)
            kept.append(hidden)
        for block in self.middle:
            hidden = block(hidden, embedding)
        for name, block in self.up.items():
            if not name.endswith("resample"):
                hidden = torch.cat([hidden, kept.pop()], dim=1)
            hidden = block(hidden, embedding)
        return self.conv(F.silu(self.norm(hidden)))

    def load_ours(self, arrays):
        """Takes weights under `cm-network`'s names: kernels [h, w, in, out], matrices [in, out]."""
        renamed = {}
        for name, value in self.state_dict().items():
            # `down.1/resample.conv0.weight` there is `down.1.resample.conv0.weight` here.
            ours = name.replace("/", ".")
            if ours.startswith(("norm.", "conv.")):
                ours = f"output.{ours}"
            array = torch.from_numpy(arrays.pop(ours))
            if value.dim() == 4:
                array = array.permute(3, 2, 0, 1)
            elif value.dim() == 2:
                array = array.T
            renamed[name] = array.contiguous()
        assert not arrays, f"parameters that PyTorch's network lacks: {sorted(arrays)}"
        self.load_state_dict(renamed)
