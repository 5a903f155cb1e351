#!/usr/bin/env python3
"""Images changed by EDM's augmentation, with the numbers it tells networks.

    python scripts/parity/augmentation.py CHECKOUT > tests/fixtures/parity/augmentation.csv

CHECKOUT is a clone of github.com/NVlabs/edm, of which nothing is kept here; its pipeline needs PyTorch. What it would draw is
put in its way, one image at a time, for each change alone and for all of them at once.

Columns, numbers in each with spaces between them: height, width and channels; mirrored, upended, scaling, rotation in
radians, anisotropy and its axis in radians, translation right and down, as the pipeline draws them; the nine labels; the image
before; the image after. Images are [height, width, channels] here.
"""

import math
import sys
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, sys.argv[1])
from training.augment import AugmentPipe  # noqa: E402

CASES = [
    (8, 8, 1, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (7, 9, 2, 1, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (7, 9, 2, 0, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (8, 8, 1, 0, 0, 1.3, 0.0, 0.0, 0.0, 0.0, 0.0),
    (7, 9, 2, 0, 0, -1.1, 0.0, 0.0, 0.0, 0.0, 0.0),
    (8, 8, 1, 0, 0, 0.0, 0.7, 0.0, 0.0, 0.0, 0.0),
    (7, 9, 2, 0, 0, 0.0, -2.5, 0.0, 0.0, 0.0, 0.0),
    (8, 8, 1, 0, 0, 0.0, 0.0, 1.4, 0.0, 0.0, 0.0),
    (7, 9, 2, 0, 0, 0.0, 0.0, -0.9, 2.1, 0.0, 0.0),
    (8, 8, 1, 0, 0, 0.0, 0.0, 0.0, 0.0, 1.2, -0.4),
    (7, 9, 2, 1, 1, 0.8, 1.9, 0.6, -1.2, -0.5, 0.9),
]


def changed(case):
    height, width, channels, mirrored, upended, scaling, rotation, stretch, axis, right, down = case
    generator = np.random.default_rng(7)
    image = generator.standard_normal((height, width, channels)).astype(np.float32)
    share = lambda angle: torch.tensor([(angle / math.pi + 1) / 2], dtype=torch.float32)
    yes, flip = torch.zeros(1), lambda set: torch.full([1, 1, 1, 1], set)
    whole = [flip(mirrored), flip(upended)]
    uniform = [yes.reshape(1, 1, 1, 1)] * 2 + [yes, share(rotation), yes, share(axis), yes, yes, yes.reshape(1, 1)]
    normal = [torch.tensor([scaling]), torch.tensor([stretch]), torch.tensor([[right], [down]])]
    take = lambda queue: lambda *args, **kwargs: queue.pop(0)
    pipe = AugmentPipe(p=0.12, xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)
    with (
        mock.patch.object(torch, "randint", take(whole)),
        mock.patch.object(torch, "rand", take(uniform)),
        mock.patch.object(torch, "randn", take(normal)),
    ):
        after, labels = pipe(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert not whole and not uniform and not normal
    return image, labels[0].numpy(), after[0].permute(1, 2, 0).numpy()


def main():
    print("# scripts/parity/augmentation.py: shape, changes, labels, image before, image after")
    for case in CASES:
        before, labels, after = changed(case)
        parts = [case[:3], case[3:], labels, before.flatten(), after.flatten()]
        print(",".join(" ".join(f"{float(number):.7g}" for number in part) for part in parts))


if __name__ == "__main__":
    main()
