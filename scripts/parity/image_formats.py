#!/usr/bin/env python3
"""Small files of every format that data sets are read from, made by Python's own libraries.

    python scripts/parity/image_formats.py crates/cm-datasets/tests/fixtures [PART ...]

Needs NumPy, Pillow and PyArrow. Images are a pattern that every reader's test computes for itself: the byte at row y, column x,
channel c of image i is (37 i + 11 y + 5 x + 83 c + y x) mod 256. What cannot be computed (resized and JPEG images) is
written beside its file as an array.
"""

import gzip
import io
import json
import pickle
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps


def pattern(index: int, height: int, width: int, channels: int) -> np.ndarray:
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return ((37 * index + 11 * y + 5 * x + 83 * c + y * x) % 256).astype(np.uint8)


def planes(images: range, side: int) -> np.ndarray:
    """Images as rows of three planes, the layout of CIFAR-10 and of downsampled ImageNet."""
    return np.stack([pattern(i, side, side, 3).transpose(2, 0, 1).reshape(-1) for i in images])


class Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its strings, as the pickles of CIFAR-10 have them."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data)))
        self.write(data)
        self.memoize(value)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


def python2(value) -> bytes:
    out = io.BytesIO()
    Python2(out, 2).dump(value)
    # Python 2's NumPy had its functions in another module.
    return out.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
# In the archives the batches are not in their order either.
BATCHES = {"data_batch_3": 2, "test_batch": 5, "data_batch_1": 0, "data_batch_5": 4, "data_batch_2": 1, "data_batch_4": 3}


def tar_gz(path: Path, files: dict[str, bytes]) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def cifar(out: Path) -> None:
    """Three images in each batch; image i of all has class i mod 10."""
    binary, pickled = {}, {}
    for name, number in BATCHES.items():
        images = range(3 * number, 3 * number + 3)
        labels, data = [i % 10 for i in images], planes(images, 32)
        records = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, data))
        binary[f"cifar-10-batches-bin/{name}.bin"] = records
        batch = {"batch_label": name, "labels": labels, "data": data, "filenames": [f"{i}.png" for i in images]}
        pickled[f"cifar-10-batches-py/{name}"] = python2(batch)
    binary["cifar-10-batches-bin/batches.meta.txt"] = ("\n".join(NAMES) + "\n\n").encode()
    pickled["cifar-10-batches-py/batches.meta"] = python2(
        {"num_cases_per_batch": 10000, "label_names": NAMES, "num_vis": 3072}
    )
    pickled["cifar-10-batches-py/readme.html"] = b"<a>"
    tar_gz(out / "cifar-10-binary.tar.gz", binary)
    tar_gz(out / "cifar-10-python.tar.gz", pickled)


def downsampled(out: Path) -> None:
    """8x8 images, three in each batch, labels from 1; pickles of every protocol since 3, and archives."""
    for kind in ["npz", "pickle"]:
        folder = out / f"downsampled-{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(["train_data_batch_1", "train_data_batch_2", "val_data"]):
            images = range(3 * number, 3 * number + 3)
            batch = {"data": planes(images, 8), "labels": [1 + 111 * i for i in images], "mean": np.zeros(192)}
            if kind == "npz":
                with (folder / f"{name}.npz").open("wb") as file:
                    np.savez(file, **{**batch, "labels": np.array(batch["labels"])})
            else:
                if number == 2:
                    batch["labels"] = np.array(batch["labels"])
                (folder / name).write_bytes(pickle.dumps(batch, protocol=3 + number))


def idx(out: Path) -> None:
    """5x7 images: six to train on (compressed) and two to test (not)."""
    folder = out / "idx"
    folder.mkdir(parents=True, exist_ok=True)
    for part, images, ending in [("train", range(6), ".gz"), ("t10k", range(6, 8), "")]:
        pixels = b"".join(pattern(i, 5, 7, 1).tobytes() for i in images)
        files = {
            "images-idx3": struct.pack(">IIII", 0x803, len(images), 5, 7) + pixels,
            "labels-idx1": struct.pack(">II", 0x801, len(images)) + bytes(i % 3 for i in images),
        }
        for name, data in files.items():
            data = gzip.compress(data, mtime=0) if ending else data
            (folder / f"{part}-{name}-ubyte{ending}").write_bytes(data)


def npz(out: Path) -> None:
    images = np.stack([pattern(i, 4, 4, 3) for i in range(10)])
    with (out / "keras.npz").open("wb") as file:
        np.savez_compressed(
            file,
            x_train=images[:7, ..., 0], y_train=np.arange(7, dtype=np.uint8) % 4,
            x_test=images[7:, ..., 0], y_test=np.arange(7, 10, dtype=np.uint8) % 4,
        )
    with (out / "samples.npz").open("wb") as file:
        np.savez(file, images, np.arange(10).reshape(10, 1) % 3)


def png(image: np.ndarray, **options) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(image.squeeze()).save(packed, "png", **options)
    return packed.getvalue()


def edm_zip(out: Path) -> None:
    with zipfile.ZipFile(out / "edm.zip", "w", zipfile.ZIP_STORED) as archive:
        labels = []
        for i in [2, 0, 1, 3, 4]:
            name = f"{i // 3:05d}/img{i:08d}.png"
            archive.writestr(zipfile.ZipInfo(name), png(pattern(i, 6, 6, 3)))
            labels.append([name, i % 2])
        archive.writestr(zipfile.ZipInfo("dataset.json"), json.dumps({"labels": labels}))


def parquet(out: Path) -> None:
    """The Hub's layout: images as structs of bytes and path, class labels whose names are in the file's metadata; five
    and two 6x6 images to train on, in row groups of three, and two to test. And one file of plain bytes without names."""
    names = ["ant", "bee", "cat"]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    struct_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", struct_type), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    folder = out / "parquet" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, images in [
        ("train-00000-of-00002", range(5)),
        ("train-00001-of-00002", range(5, 7)),
        ("test-00000-of-00001", range(7, 9)),
    ]:
        rows = {
            "image": [{"bytes": png(pattern(i, 6, 6, 3)), "path": f"{i}.png"} for i in images],
            "label": [i % 3 for i in images],
        }
        pq.write_table(pa.table(rows, schema=schema), folder / f"{name}.parquet", row_group_size=3)
    rows = {
        "fine_label": pa.array([i % 2 for i in range(4)], pa.int32()),
        "img": pa.array([png(pattern(i, 6, 6, 1)) for i in range(4)], pa.binary()),
    }
    for compression in ["zstd", "gzip", "lz4", "brotli", "none"]:
        pq.write_table(pa.table(rows), out / "parquet" / f"{compression}.parquet", compression=compression)
    broken(out / "parquet-broken", schema)


def broken(folder: Path, schema: pa.Schema) -> None:
    """Parquet files that are whole, and hold what no data set should: each is wrong in its third row."""
    folder.mkdir(parents=True, exist_ok=True)
    good = [{"bytes": png(pattern(i, 6, 6, 3)), "path": f"{i}.png"} for i in range(4)]
    plain = schema.remove_metadata()
    for name, third, label, kind in [
        ("label", good[2], 3, schema),
        ("negative-label", good[2], -1, plain),
        ("no-label", good[2], None, plain),
        ("no-image", None, 0, plain),
        ("no-bytes", {"bytes": None, "path": "elsewhere.png"}, 0, plain),
        ("no-picture", {"bytes": b"GIF89a", "path": None}, 0, plain),
        ("other-size", {"bytes": png(pattern(2, 6, 5, 3)), "path": None}, 0, plain),
        ("bomb", {"bytes": bytes(1 << 26), "path": None}, 0, plain),
    ]:
        rows = {"image": [*good[:2], third, good[3]], "label": [0, 1, label, 2]}
        pq.write_table(pa.table(rows, schema=kind), folder / f"{name}.parquet", compression="zstd", write_statistics=False)
    pq.write_table(pa.table({"picture": [b""], "label": [0]}), folder / "no-column.parquet")
    pq.write_table(pa.table({"image": [[b"", b""]], "label": [0]}), folder / "list.parquet")
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), folder / "empty.parquet")


def folders(out: Path) -> None:
    """PNG files of every kind, and a JPEG."""
    root = out / "folder"
    for i, name in enumerate(["ant/a.png", "ant/b.png", "bee/a_b.png", "bee/deep/c.png", "cat/x.PNG"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pattern(i, 6, 6, 3)))
    (root / "readme.txt").write_text("no image\n")


def crop(picture: Image.Image, side: int) -> np.ndarray:
    """The size that is trained on, as the original code makes it: halve, resize, cut out the middle."""
    while min(picture.size) >= 2 * side:
        picture = picture.resize((picture.size[0] // 2, picture.size[1] // 2), resample=Image.Resampling.BOX)
    scale = side / min(picture.size)
    size = (round(picture.size[0] * scale), round(picture.size[1] * scale))
    array = np.array(picture.resize(size, resample=Image.Resampling.BICUBIC))
    top, left = (array.shape[0] - side) // 2, (array.shape[1] - side) // 2
    return array[top : top + side, left : left + side]


def resized(out: Path) -> None:
    """Pictures of several sizes with what becomes of them at 16x16, in colour and grey; a JPEG."""
    root = out / "resized"
    root.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:200, 0:200]
    smooth = np.stack([127 + 120 * np.sin(x / 9 + y / 31), 127 + 120 * np.cos(x * y / 900), x], axis=-1)
    smooth = smooth.astype(np.uint8)
    arrays = {}
    for i, (height, width) in enumerate([(16, 16), (40, 23), (64, 100), (9, 12), (33, 31)]):
        picture = Image.fromarray(smooth[7 * i : 7 * i + height, :width])
        picture.save(root / f"{i}.png")
        arrays[f"colour_{i}"] = crop(picture, 16)
        arrays[f"grey_{i}"] = crop(picture.convert("L"), 16)
    with (out / "resized.npz").open("wb") as file:
        np.savez_compressed(
            file,
            x_train=np.stack([arrays[f"colour_{i}"] for i in range(5)]),
            x_test=np.stack([arrays[f"grey_{i}"] for i in range(5)])[..., None],
        )
    picture = Image.fromarray(smooth[:48, :40])
    jpeg = out / "jpeg"
    jpeg.mkdir(parents=True, exist_ok=True)
    for name, options in {"colour": {}, "fine": {"subsampling": 0}, "progressive": {"progressive": True}}.items():
        picture.save(jpeg / f"{name}.jpg", "jpeg", quality=90, **options)
    picture.convert("L").save(jpeg / "grey.jpg", "jpeg", quality=90)
    decoded = [np.array(Image.open(path).convert("RGB")) for path in sorted(jpeg.glob("*.jpg"))]
    with (out / "jpeg.npz").open("wb") as file:
        np.savez_compressed(file, images=np.stack(decoded))


def kinds(out: Path) -> None:
    """One 3x4 picture as PNG files of every kind, with what Pillow makes of those without transparency."""
    root = out / "kinds"
    root.mkdir(parents=True, exist_ok=True)
    colour = Image.fromarray(pattern(1, 3, 4, 3))
    colour.save(root / "colour.png")
    colour.convert("L").save(root / "grey.png")
    colour.convert("1").save(root / "bits.png")
    colour.convert("P", palette=Image.Palette.ADAPTIVE, colors=7).save(root / "palette.png")
    decoded = [np.array(Image.open(path).convert("RGB")) for path in sorted(root.glob("*.png"))]
    with (out / "kinds.npz").open("wb") as file:
        np.savez_compressed(file, images=np.stack(decoded))


def webp(out: Path) -> None:
    """A smooth picture as WebP: lossless, lossy, with an alpha channel; with what libwebp makes of it, on black."""
    root = out / "webp"
    root.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:37, 0:46]
    smooth = np.stack([127 + 120 * np.sin(x / 9 + y / 31), 127 + 120 * np.cos(x * y / 90), x * 5], axis=-1).astype(np.uint8)
    cover = ((x * 7 + y * 3) % 256).astype(np.uint8)
    colour, covered = Image.fromarray(smooth), Image.fromarray(np.dstack([smooth, cover]))
    colour.save(root / "lossless.webp", lossless=True)
    colour.save(root / "lossy.webp", quality=70)
    covered.save(root / "lossless-alpha.webp", lossless=True, exact=True)
    covered.save(root / "lossy-alpha.webp", quality=80)
    decoded = []
    for path in sorted(root.glob("*.webp")):
        pixels = np.array(Image.open(path).convert("RGBA")).astype(np.uint32)
        decoded.append(((pixels[..., :3] * pixels[..., 3:] + 127) // 255).astype(np.uint8))
    with (out / "webp.npz").open("wb") as file:
        np.savez_compressed(file, images=np.stack(decoded))


def turned(out: Path) -> None:
    """A square picture in all eight orientations as JPEG, and in one as PNG and WebP; as stored, and as it is meant."""
    root = out / "turned"
    root.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pattern(3, 8, 8, 3))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x010F] = "a maker, so that the tag is not the first"
        exif[0x0112] = orientation
        picture.save(root / f"{orientation}.jpg", "jpeg", quality=95, subsampling=0, exif=exif)
        if orientation == 6:
            picture.save(root / "6.png", exif=exif)
            picture.save(root / "6.webp", lossless=True, exif=exif)
    files = sorted(root.iterdir())
    for name, turn in [("stored", lambda image: image), ("upright", ImageOps.exif_transpose)]:
        with (out / f"{name}.npz").open("wb") as file:
            np.savez_compressed(file, images=np.stack([np.array(turn(Image.open(path)).convert("RGB")) for path in files]))


PARTS = [cifar, downsampled, idx, npz, edm_zip, parquet, folders, resized, kinds, webp, turned]


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if not sys.argv[2:] or part.__name__ in sys.argv[2:]:
            part(out)


if __name__ == "__main__":
    main()
