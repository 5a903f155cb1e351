#!/usr/bin/env python3
"""Small JPEG files of every kind that is read, and what Pillow (libjpeg-turbo) makes of them, as PNG files.

    python scripts/parity/jpeg.py crates/cm-jpeg/tests/fixtures
    python scripts/parity/jpeg.py --compare FOLDER PROGRAM

Needs NumPy, Pillow and, for samplings that Pillow does not write, `cjpeg` of libjpeg-turbo. The second form decodes all
JPEG files below a folder with Pillow and with a program that writes the raw pixels of the file it is given to standard
output (`cargo build --release -p cm-jpeg --example pixels`), and counts the values that differ.
"""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def picture(height, width, channels, seed):
    """Colour gradients, edges and noise: something for every coefficient."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(channels):
        a, b, c = random.uniform(-1, 1, 3)
        plane = 128 + 90 * np.sin(a * x / 3 + b * y / 4 + 6 * c) + 60 * ((x * 3 + y * 2) % 17 > 11) * c
        planes.append(plane + random.normal(0, 12, (height, width)))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8).squeeze()


def by_pillow(name, array, mode=None, **options):
    stream = io.BytesIO()
    Image.fromarray(array, mode).save(stream, "JPEG", **options)
    return name, stream.getvalue()


def by_cjpeg(name, array, *options):
    header = f"P{6 if array.ndim == 3 else 5}\n{array.shape[1]} {array.shape[0]}\n255\n".encode()
    made = subprocess.run(["cjpeg", *options], input=header + array.tobytes(), capture_output=True, check=True)
    return name, made.stdout


def files():
    for sampling in ["4:4:4", "4:2:2", "4:2:0"]:
        plain = sampling.replace(":", "")
        yield by_pillow(f"baseline-{plain}", picture(21, 35, 3, 1), subsampling=sampling, quality=85)
        yield by_pillow(f"progressive-{plain}", picture(34, 19, 3, 2), subsampling=sampling, quality=70, progressive=True)
    for quality in [5, 100]:
        yield by_pillow(f"quality-{quality}", picture(33, 17, 3, 3), quality=quality)
    yield by_pillow("grey", picture(19, 23, 1, 4))
    yield by_pillow("grey-progressive", picture(19, 23, 1, 4), progressive=True, quality=95)
    yield by_pillow("optimised", picture(24, 24, 3, 5), optimize=True)
    yield by_pillow("restarts", picture(40, 40, 3, 6), restart_marker_blocks=2)
    yield by_pillow("restarts-progressive", picture(40, 40, 3, 6), restart_marker_rows=1, progressive=True)
    yield by_pillow("rgb", picture(18, 20, 3, 7), keep_rgb=True)
    yield by_pillow("cmyk", picture(18, 20, 4, 8), "CMYK")
    for height, width in [(1, 1), (2, 3), (3, 2), (5, 4), (16, 16), (17, 6)]:
        yield by_pillow(f"size-{height}x{width}", picture(height, width, 3, 9))
    for sampling in ["1x2,1x1,1x1", "4x1,1x1,1x1", "1x1,2x2,1x1", "2x2,2x1,1x2", "4x1,2x1,1x1"]:
        plain = sampling.replace(",", "-")
        yield by_cjpeg(f"sampling-{plain}", picture(29, 37, 3, 10), "-sample", sampling)
        yield by_cjpeg(f"sampling-{plain}-progressive", picture(29, 37, 3, 10), "-sample", sampling, "-progressive")


def pixels(file):
    image = Image.open(file)
    return image if image.mode == "L" else image.convert("RGB")


def compare(folder, program):
    total = differing = values = 0
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg"):
            continue
        expected = np.asarray(pixels(path)).reshape(-1)
        found = np.frombuffer(subprocess.run([program, path], capture_output=True, check=True).stdout, np.uint8)
        total, values = total + 1, values + expected.size
        differing += int((found != expected).sum()) if found.size == expected.size else expected.size
    print(f"{total} files, {values} values: {differing} differ from Pillow's")
    return 1 if differing or not total else 0


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--compare":
        return compare(*sys.argv[2:])
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files():
        (out / f"{name}.jpg").write_bytes(content)
        pixels(io.BytesIO(content)).save(out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
