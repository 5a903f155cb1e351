"""What `cm` itself computes."""

import subprocess

import numpy


def denoised(cm, model, scratch, x, sigma, labels):
    """What `cm denoise` makes of images at noise levels."""
    arrays = {"x": x, "sigma": sigma} | ({} if labels is None else {"labels": labels})
    numpy.savez(scratch / "in.npz", **{name: array.astype(numpy.float32) for name, array in arrays.items()})
    files = ["--input", scratch / "in.npz", "--out", scratch / "out.npz"]
    subprocess.run([cm, "denoise", "--weights", model, *files], check=True, stdout=subprocess.DEVNULL)
    return numpy.load(scratch / "out.npz")["denoised"]
