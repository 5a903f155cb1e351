#!/usr/bin/env python3
"""Images resized as published metrics do it, for crates/cm-kernels/src/resample.

    python scripts/parity/resize.py > tests/fixtures/parity/resize.csv

`corners`: TensorFlow 1's ResizeBilinear by its formula (tensorflow/core/kernels/image/resize_bilinear_op.cc, neither
aligned corners nor half-pixel centres), checked here against the emulation in PyTorch that the original code's port
uses. `bicubic`: the Python Imaging Library on single-precision images, as clean-fid calls it. Needs numpy, torch, Pillow.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

CASES = [((5, 7), (11, 4)), ((8, 8), (3, 13)), ((1, 3), (2, 2)), ((12, 10), (12, 5))]


def image(height, width):
    y, x = np.mgrid[:height, :width]
    return ((5 * y * y + 7 * x * (y + 3)) % 64).astype(np.float32)


def corners(x, to):
    def axis(size, outputs):
        at = np.arange(outputs, dtype=np.float32) * np.float32(size / outputs)
        lower = np.floor(at).astype(int)
        return lower, np.minimum(lower + 1, size - 1), at - lower

    (t, b, v), (l, r, h) = axis(x.shape[0], to[0]), axis(x.shape[1], to[1])
    top = x[t][:, l] + (x[t][:, r] - x[t][:, l]) * h
    bottom = x[b][:, l] + (x[b][:, r] - x[b][:, l]) * h
    return top + (bottom - top) * v[:, None]


def emulated(x, to):
    theta = torch.eye(2, 3)
    theta[0, 2] = 1 / x.shape[1] - 1 / to[1]
    theta[1, 2] = 1 / x.shape[0] - 1 / to[0]
    grid = F.affine_grid(theta[None], [1, 1, *to], align_corners=False)
    x = torch.from_numpy(x)[None, None]
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)[0, 0].numpy()


def main():
    print(f"# scripts/parity/resize.py, torch {torch.__version__.split('+')[0]}, Pillow {Image.__version__}")
    print("kind,height,width,to_height,to_width,values")
    for (height, width), to in CASES:
        x = image(height, width)
        assert np.abs(corners(x, to) - emulated(x, to)).max() < 1e-3
        bicubic = np.asarray(Image.fromarray(x, mode="F").resize(to[::-1], resample=Image.BICUBIC))
        for kind, values in [("corners", corners(x, to)), ("bicubic", bicubic)]:
            print(",".join([kind, *map(str, (height, width, *to))] + [" ".join(repr(float(v)) for v in values.flat)]))


if __name__ == "__main__":
    main()
