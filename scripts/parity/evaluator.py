#!/usr/bin/env python3
"""What `cm evaluate` should say of a thousand images of a small checkpoint, by independent programs.

    cargo run --release -- run scripts/parity/evaluator.ron --out target/evaluator
    python scripts/parity/evaluator.py target/release/cm target/evaluator/evaluator/base/seed-0/model.safetensors

It copies the checkpoint to tests/fixtures/parity/evaluator.safetensors, lets `cm sample` draw a thousand images from it
(evaluator-samples.npz), takes as many digits from scikit-learn (evaluator-reference.npz), passes both through the shipped
classifier as PyTorch computes it, and scores the features: the Fréchet distance by pytorch-fid, the class score by
torch-fidelity, precision, recall, density and coverage by the package prdc, copies by scikit-learn's neighbours, the kernel distance by torchmetrics, the
extrapolated distance as the mean over a hundred draws of subsets (column `tolerance`: four standard deviations of a draw).
All numbers go to evaluator.csv. Needs numpy, scipy, torch, torchmetrics, torch-fidelity, pytorch-fid, prdc, scikit-learn.
"""

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from metrics import kid
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from safetensors.numpy import load_file
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch.nn.functional import conv2d, relu
from torch_fidelity.metric_isc import isc_features_to_metric

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures/parity"
COUNT = 1000
SURE = 0.9


def classify(images):
    """Features and logits of images u8, in double precision."""
    weights = {k: torch.from_numpy(v).double() for k, v in load_file(ROOT / "crates/cm-evaluator/data/digits_classifier.safetensors").items()}
    x = torch.from_numpy(images).double().permute(0, 3, 1, 2) / 127.5 - 1
    for layer in range(3):
        kernel = weights[f"conv{layer}.weight"].permute(3, 2, 0, 1)
        x = relu(conv2d(x, kernel, weights[f"conv{layer}.bias"], stride=1 if layer == 0 else 2, padding=1))
    features = x.mean((2, 3))
    return features.numpy(), features @ weights["output.weight"] + weights["output.bias"]


def frechet(x, y):
    moments = [part for rows in (x, y) for part in (rows.mean(0), np.cov(rows, rowvar=False))]
    return calculate_frechet_distance(*moments)


def extrapolated(x, y):
    """Chong and Forsyth 2020 with 15 subsets from a half to the whole; the mean of a hundred draws, and their spread."""
    draws = []
    for seed in range(100):
        random, points = np.random.default_rng(seed), []
        for index in range(15):
            size = len(x) // 2 + (len(x) - len(x) // 2) * index // 14
            points.append((1 / size, frechet(random.permutation(x)[:size], y)))
        draws.append(np.polyfit(*np.transpose(points), 1)[1])
    return np.mean(draws), 4 * np.std(draws, ddof=1)


def copied(x, y):
    """Alaa et al. 2022: nearer to an image of the reference than its neighbour there."""
    own = NearestNeighbors(n_neighbors=2).fit(y)
    (distance, image), (others, _) = own.kneighbors(x, 1), own.kneighbors(y)
    return (distance[:, 0] <= others[image[:, 0], 1]).mean()


def main(cm, checkpoint):
    shutil.copy(checkpoint, FIXTURES / "evaluator.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([cm, "sample", checkpoint, "--count", str(COUNT), "--out", folder], check=True)
        shutil.copy(f"{folder}/samples.npz", FIXTURES / "evaluator-samples.npz")
    digits = load_digits().images[:COUNT, :, :, None]
    reference = np.round(digits * 255 / 16).astype(np.uint8)
    np.savez_compressed(FIXTURES / "evaluator-reference.npz", arr_0=reference)
    (x, logits), (y, others) = classify(np.load(FIXTURES / "evaluator-samples.npz")["arr_0"]), classify(reference)
    mean, sd = y.mean(0), y.std(0, ddof=1)
    sd[sd == 0] = 1  # a feature that never fires has no scale
    x, y = (x - mean) / sd, (y - mean) / sd
    with contextlib.redirect_stdout(io.StringIO()):
        three, five = compute_prdc(y, x, 3), compute_prdc(y, x, 5)
        score = isc_features_to_metric(logits, splits=1, shuffle=False)
    largest = torch.softmax(logits, 1).max(1).values
    shares = [torch.bincount(rows.argmax(1), minlength=10) / len(rows) for rows in (logits, others)]
    values = {
        "frechet": (frechet(x, y), 0),
        "frechet-extrapolated": extrapolated(x, y),
        "class-score": (score["inception_score_mean"], 0),
        "precision": (three["precision"], 0),
        "recall": (three["recall"], 0),
        "density": (five["density"], 0),
        "coverage": (five["coverage"], 0),
        "kid": (kid(x, y), 0),
        "copied": (copied(x, y), 0),
        "recognised": ((largest >= SURE).double().mean(), 0),
        "class-histogram": ((shares[0] - shares[1]).abs().sum() / 2, 0),
    }
    with open(FIXTURES / "evaluator.csv", "w") as out:
        print("metric,value,tolerance", file=out)
        for name, (value, tolerance) in values.items():
            print(f"{name},{float(value)!r},{float(tolerance)!r}", file=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
