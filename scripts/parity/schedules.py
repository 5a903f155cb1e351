#!/usr/bin/env python3
"""The schedules' formulas in plain Python, in double precision, written down from the papers and not from the Rust.

    python scripts/parity/schedules.py > tests/fixtures/parity/schedules.csv

One line for each value: what it is, its parameters, the value. Needs nothing but Python.

levels        N, i                      Karras level i = 0 (noisiest) .. N-1; Karras et al. 2022, Equation 5
progressive   s0, s1, mu0, k, K         N(k); Song et al. 2023, Appendix C
mu            s0, s1, mu0, k, K         mu(k) = exp(s0 ln mu0 / N(k)); the same
mu_code       s0, s1, mu0, k, K         exp(s0 ln mu0 / (N(k) - 1)), which openai/consistency_models computes
doubling      s0, s1, k, K              N(k); Song and Dhariwal 2024, Section 3.4
law           N, i                      probability of interval i, P_mean -1.1, P_std 2; the same, Equation 11
ratio         q, k, b, stage, t         r / t; Geng et al. 2025, Section 3.2
halving       S, i                      levels of progressive distillation with S steps, i = 0 .. S, noisiest first
stage         s0, k, K                  steps S of progressive distillation's stage at step k of K, as the original code
                                        plans it; K is a whole number of its stages
pair          S, i, x, D1, D2           the student's denoised target of the interval i of S from x, by the original
                                        code's two Euler steps with the teacher's outputs D1 and D2
gamma         sigma_rel                 exponent of a power average; Karras et al. 2024, Section 3.1
"""

import math

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0


def level(place: float) -> float:
    """The level at a share of the way from the noisiest to the least noisy."""
    top, bottom = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return (top + place * (bottom - top)) ** RHO


def intervals(s0: int, s1: int, k: int, total: int) -> int:
    root = math.sqrt(k / total * ((s1 + 1) ** 2 - s0**2) + s0**2)
    return max(math.ceil(root - 1), 1)


def row(what: str, *cells: float) -> None:
    print(",".join([what, *(repr(cell) for cell in cells)]))


def levels() -> None:
    for n, indices in [
        (2, [0, 1]),
        (18, range(18)),
        (40, [0, 1, 17, 18, 22, 38, 39]),
        (151, [62, 67, 149]),
        (201, [106]),
        (1281, [0, 640, 1279, 1280]),
    ]:
        for i in indices:
            row("levels", n, i, level(i / (n - 1)))


def curricula() -> None:
    total = 800_000
    for s0, s1, mu0, ks in [
        (2, 150, 0.9, [0, 1_000, 10_000, 100_000, 400_000, 800_000]),
        (2, 200, 0.95, [0, 10_000, 400_000, 800_000]),
        (2, 30, 0.9, [0, 1, 5_000, 123_456, 799_999]),
    ]:
        for k in ks:
            s = intervals(s0, s1, k, total)
            row("progressive", s0, s1, mu0, k, total, s + 1)
            row("mu", s0, s1, mu0, k, total, math.exp(s0 * math.log(mu0) / (s + 1)))
            row("mu_code", s0, s1, mu0, k, total, math.exp(s0 * math.log(mu0) / s))
    total = 400_000
    for s0, s1 in [(10, 1280), (5, 40), (10, 30)]:
        phase = math.floor(total / (math.log2(s1 // s0) + 1))
        for k in [0, 1, phase - 1, phase, 2 * phase, total - 1]:
            row("doubling", s0, s1, k, total, min(s0 * 2 ** (k // phase), s1) + 1)


def laws() -> None:
    mean, std = -1.1, 2.0
    for n in [2, 3, 6, 11]:
        edges = [math.erf((math.log(level(i / (n - 1))) - mean) / (math.sqrt(2) * std)) for i in range(n)]
        for i in range(n - 1):
            row("law", n, i, (edges[i] - edges[i + 1]) / (edges[0] - edges[-1]))


def ratios() -> None:
    for q in [2.0, 4.0, 256.0]:
        for stage in [0, 1, 3, 7]:
            for t in [0.01, 0.5, 1.0, 5.0, 80.0]:
                gap = (1 + 8 / (1 + math.exp(t))) / q ** (stage + 1)
                row("ratio", q, 8.0, 1.0, stage, t, max(0.0, 1 - gap))


def halvings() -> None:
    for steps in [1, 2, 4, 8]:
        for i in range(steps + 1):
            row("halving", steps, i, level(i / steps))


def stages() -> None:
    length = 50_000
    for s0 in [4096, 64, 8]:
        log = int(math.log2(s0))
        total = length * (log - 1 + 4)
        ks = {0, 1, length - 1, length, 3 * length, 7 * length, length * (log - 1) - 1, total - 1}
        ks |= {length * (log - 1) + part for part in [0, 1, length, 2 * length - 1, 2 * length, 3 * length]}
        ks |= {total // 2, total // 3, total - 2 * length - 1, total - 2 * length}
        for k in sorted(k for k in ks if k < total):
            s = max(s0 // 2 ** (k // length), 2)
            sub = max(k - length * (log - 1), 0) // (2 * length)
            row("stage", s0, k, total, max(2 // 2**sub, 1) if s == 2 else s)


def pairs() -> None:
    for s in [1, 2, 8]:
        for i in sorted({0, s // 2, s - 1}):
            for x, d1, d2 in [(1.5, 0.25, -0.5), (-30.0, 0.75, 0.5), (0.1, 0.1, 0.1)]:
                t, t2, t3 = level(i / s), level((i + 0.5) / s), level((i + 1) / s)
                x2 = x + (t2 - t) * (x - d1) / t
                x3 = x2 + (t3 - t2) * (x2 - d2) / t2
                row("pair", s, i, x, d1, d2, x - t * (x3 - x) / (t3 - t))


def gammas() -> None:
    for sigma_rel in [0.01, 0.05, 0.1, 0.15, 0.2, 0.28]:
        low, high = 0.0, 1000.0
        for _ in range(200):
            gamma = (low + high) / 2
            wide = (gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)) > sigma_rel**2
            low, high = (gamma, high) if wide else (low, gamma)
        row("gamma", sigma_rel, low)


def main() -> None:
    print("# scripts/parity/schedules.py: what, parameters, value; sigma from 80 to 0.002, rho 7")
    for part in [levels, curricula, laws, ratios, halvings, stages, pairs, gammas]:
        part()


if __name__ == "__main__":
    main()
