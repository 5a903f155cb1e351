#!/usr/bin/env python3
"""Metrics of two sets of features by the published formulas, for crates/cm-evaluator/src/comparison.rs.

    python scripts/parity/metrics.py > tests/fixtures/parity/metrics.csv

Features come from a generator that every program can repeat exactly; sets are of full rank, with fewer rows than
features, and ill-conditioned. FID is scipy's square root as pytorch-fid has it where that is well-conditioned, and the
singular values of the centred features, which are exact for any rank; precision and recall are the original evaluator's
comparisons in double precision; KID is torchmetrics' `poly_mmd`; density and coverage are Naeem et al.'s code, with
closed balls. Needs numpy, scipy, torch, torchmetrics.
"""

import numpy as np
import scipy
import torch
import torchmetrics
from scipy import linalg
from torchmetrics.image.kid import poly_mmd

CASES = [
    # rows of samples, rows of the reference, features, kind
    (90, 70, 12, "full"),
    (20, 25, 32, "short"),
    (90, 70, 12, "ill"),
]
CLASSES, SPLIT = 5, 40


def numbers(count, seed):
    """A linear congruential generator's upper 12 bits, as multiples of 1/256 from -8 to 8: exact in single precision."""
    state, out = seed, np.empty(count)
    for i in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        out[i] = (state >> 20) / 256 - 8
    return out


def features(rows, cols, kind, seed, shift):
    x = numbers(rows * cols, seed).reshape(rows, cols)
    # Neighbouring features have something in common.
    x[:, 1:] += x[:, :-1]
    x += shift
    if kind == "ill":
        x *= 2.0 ** -(3 * np.arange(cols))
    assert (x == x.astype(np.float32)).all()
    return x


def frechet(x, y, kind):
    mu, nu = x.mean(0), y.mean(0)
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    cross = (x - mu) @ (y - nu).T / np.sqrt((len(x) - 1) * (len(y) - 1))
    trace = np.linalg.svd(cross, compute_uv=False).sum()
    root = linalg.sqrtm(s @ t).real
    if kind == "full":
        assert abs(np.trace(root) - trace) < 1e-9 * trace
    return ((mu - nu) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * trace


def distances(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(-1)


def neighbours(x, k):
    return np.sort(distances(x, x), 1)[:, k]


def main():
    versions = f"numpy {np.__version__}, scipy {scipy.__version__}, torchmetrics {torchmetrics.__version__}"
    print(f"# scripts/parity/metrics.py, {versions}")
    print("case,metric,value")
    for case, (n, m, cols, kind) in enumerate(CASES):
        x, y = features(n, cols, kind, 1, 0.25), features(m, cols, kind, 2, 0.0)
        d, rx, ry = distances(x, y), neighbours(x, 3), neighbours(y, 3)
        wide = neighbours(y, 5)
        values = {
            "frechet": frechet(x, y, kind),
            "precision": (d <= ry[None]).any(1).mean(),
            "recall": (d <= rx[:, None]).any(0).mean(),
            "density": (d <= wide[None]).sum(1).mean() / 5,
            "coverage": (d <= wide[None]).any(0).mean(),
            "kid": float(kid(x, y)),
        }
        for metric, value in values.items():
            print(f"{case},{metric},{float(value)!r}")
    logits = numbers(100 * CLASSES, 3).reshape(100, CLASSES)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = []
    for start in range(0, len(p), SPLIT):
        part = p[start : start + SPLIT]
        scores.append(np.exp((part * (np.log(part) - np.log(part.mean(0)))).sum(1).mean()))
    print(f"0,class-score,{float(np.mean(scores))!r}")


def kid(x, y):
    # Its sums want sets of equal size: the unbiased estimate is put together from three.
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    if len(a) == len(b):
        return poly_mmd(a, b)
    kernel = lambda u, v: (u @ v.T / u.shape[1] + 1) ** 3
    off = lambda k: (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))
    size = min(len(a), len(b))
    small = poly_mmd(a[:size], b[:size])
    check = off(kernel(a[:size], a[:size])) + off(kernel(b[:size], b[:size])) - 2 * kernel(a[:size], b[:size]).mean()
    assert abs(float(small - check)) < 1e-10 * abs(float(check))
    return off(kernel(a, a)) + off(kernel(b, b)) - 2 * kernel(a, b).mean()


if __name__ == "__main__":
    main()
