"""A residual perceptron for vectors, as `cm` trained it.

f = load(".")  # the folder with weights.pt and config.json
x = f.sigma_max * torch.randn(16, *f.shape)
points = f(x, torch.full((16,), f.sigma_max))  # of a model with classes: f(x, sigma, label)
Vectors are N, C, H, W. A diffusion model's f is D(x, sigma).
"""

import json

import torch
import torch.nn.functional as F
from torch import nn


class Embedding(nn.Module):
    def __init__(self, waves, outputs, classes):
        super().__init__()
        self.waves, features = waves, len(waves["phases"])
        self.label = nn.Linear(classes, features, bias=False) if classes else None
        self.layer0, self.layer1 = nn.Linear(features, outputs), nn.Linear(outputs, outputs)

    def forward(self, c_noise, label):
        # In double precision: angles are large, and only what is left of them counts.
        f, p = (c_noise.new_tensor(self.waves[name], dtype=torch.float64) for name in ("frequencies", "phases"))
        x = torch.cos(c_noise.double()[:, None] * f + p).float()
        if self.label is not None:
            x = x + self.label(F.one_hot(label, self.label.in_features).float())
        return F.silu(self.layer1(F.silu(self.layer0(x))))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer0, self.affine, self.layer1 = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x, embedding):
        return x + self.layer1(F.silu(self.layer0(F.silu(x)) + self.affine(embedding)))


class Model(nn.Module):
    def __init__(self, card):
        super().__init__()
        self.shape, width = (card["channels"], card["height"], card["width"]), card["network"]["width"]
        self.sigma_max, self.data, self.lowest = card["sigma_max"], card["sigma_data"], card["lowest"]
        values = card["channels"] * card["height"] * card["width"]
        self.embedding = Embedding(card["waves"], width, card["classes"])
        self.input, self.output = nn.Linear(values, width), nn.Linear(width, values)
        self.block = nn.ModuleList([Block(width) for _ in range(card["network"]["blocks"])])

    def network(self, x, c_noise, label):
        embedding, (n, c, h, w) = self.embedding(c_noise, label), x.shape
        # Rows hold images in the order H, W, C.
        hidden = self.input(x.permute(0, 2, 3, 1).reshape(n, h * w * c))
        for block in self.block:
            hidden = block(hidden, embedding)
        return self.output(F.silu(hidden)).reshape(n, h, w, c).permute(0, 3, 1, 2)
