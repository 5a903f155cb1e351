#!/usr/bin/env python3
"""The paper's networks in PyTorch (`adm.py`, `song.py`) against ours.

    python scripts/parity/networks.py fixtures
        writes tests/fixtures/parity/network-*.safetensors: an input, the output, the input's gradient and samples of
        every parameter's gradient. The weights are not in them: they are a formula of their names, known to both sides.

    python scripts/parity/networks.py check PRESET [--cm target/release/cm] [--backward] [--onnx]
        at the size of the paper: weights by the same formula through torch.save, `cm import`, `cm denoise` and
        `cm export`; prints relative errors, times and peak memory.

Needs torch, numpy and safetensors; for --onnx onnxruntime.
"""

import argparse
import math
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import zlib

import numpy as np
import safetensors.numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from adm import Adm  # noqa: E402
from song import Song, flax_tree  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
SAMPLES = 48

SMALL_ADM = dict(size=8, channels=64, multipliers=(1, 2), blocks=1, attention=(4,), head_channels=32)
SMALL_SONG = dict(size=8, channels=32, multipliers=(1, 2), blocks=1, attention=(4,))
SMALL = {
    "adm": lambda: Adm(**SMALL_ADM, classes=5),
    "adm-plain": lambda: Adm(**SMALL_ADM, scale_shift=False, resample_in_blocks=False),
    "ncsnpp": lambda: Song(**SMALL_SONG, ncsnpp=True),
    "ddpmpp": lambda: Song(**SMALL_SONG, ncsnpp=False),
}
PRESETS = {
    "ncsnpp-cifar10": (lambda: Song(), 32),
    "ddpmpp-cifar10": (lambda: Song(ncsnpp=False), 32),
    "adm-imagenet64": (lambda: Adm(classes=1000), 64),
    "adm-lsun256": (
        lambda: Adm(256, 3, 256, (1, 1, 2, 2, 4, 4), 2, (32, 16, 8), scale_shift=False),
        256,
    ),
}


def noise(name, count):
    """Numbers in [-1, 1): a hash of the name and their place."""
    with np.errstate(over="ignore"):
        h = np.uint32(zlib.crc32(name.encode())) ^ (np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1))
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    return h.astype(np.float64) / 2.0**31 - 1.0


def formula(name, shape):
    values = noise(name, math.prod(shape))
    if len(shape) == 1:
        leaf = name.rsplit(".", 1)[1]
        values = 0.2 * values + (1.0 if leaf == "weight" else 0.0)
        if name.endswith("Projection_0.W"):
            values = 5.0 * values
    elif not name.startswith("label_emb"):
        inputs = shape[0] if name.endswith(".W") else math.prod(shape[1:])
        values = math.sqrt(1.5 / inputs) * values
    return values.astype(np.float32).reshape(shape)


def filled(module):
    with torch.no_grad():
        for name, value in module.state_dict().items():
            value.copy_(torch.from_numpy(formula(name, tuple(value.shape))))
    return module.eval()


def example(module, size, count):
    channels = module.Conv_0.in_channels if isinstance(module, Song) else 3
    x = torch.from_numpy(2 * noise("x", count * channels * size * size).astype(np.float32))
    x = x.reshape(count, channels, size, size)
    sigma = torch.tensor([0.1, 2.0, 30.0][:count])
    labels = torch.arange(count) + 1 if isinstance(module, Adm) and hasattr(module, "label_emb") else None
    return x, sigma, labels


def evaluate(module, x, sigma, labels):
    time_scale = 1000.0 if isinstance(module, Adm) else 1.0
    c_noise = (0.25 * sigma.double().log()).float()
    return module(x, time_scale * c_noise, labels)


def gradients(module, x, sigma, labels):
    x = x.clone().requires_grad_()
    output = evaluate(module, x, sigma, labels)
    seed = torch.from_numpy(noise("seed", output.numel()).astype(np.float32)).reshape(output.shape)
    (output * seed).sum().backward()
    named = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
    return output.detach(), x.grad, named


def fixtures():
    folder = ROOT / "tests/fixtures/parity"
    for name, make in SMALL.items():
        module = filled(make())
        x, sigma, labels = example(module, 8, 2)
        output, grad_x, named = gradients(module, x, sigma, labels)
        arrays = {"x": x, "sigma": sigma, "output": output, "grad/x": grad_x}
        if labels is not None:
            arrays["labels"] = labels.float()
        for parameter, gradient in named.items():
            flat = gradient.flatten()
            arrays[f"grad/{parameter}"] = flat[:: max(1, flat.numel() // SAMPLES)][:SAMPLES].clone()
        arrays = {key: value.numpy().astype(np.float32) for key, value in arrays.items()}
        metadata = {"origin": f"scripts/parity/networks.py, torch {torch.__version__.split('+')[0]}"}
        safetensors.numpy.save_file(arrays, folder / f"network-{name}.safetensors", metadata)
        (folder / f"network-{name}.safetensors").chmod(0o644)
    # A whole network of the digits' size, saved by PyTorch in half precision, with what it makes of two images.
    module = filled(Song(8, 1, 8, (1, 2), 1, (4,), ncsnpp=False))
    half = {name: value.half() for name, value in module.state_dict().items()}
    module.load_state_dict({name: value.float() for name, value in half.items()})
    torch.save(half, folder / "ddpmpp-tiny.pt")
    x, sigma, labels = example(module, 8, 2)
    with torch.no_grad():
        raw = evaluate(module, x, sigma, labels).numpy()
    inputs, denoised = preconditioned(x, sigma, raw)
    np.savez(folder / "ddpmpp-tiny-in.npz", x=inputs.astype(np.float32), sigma=sigma.numpy())
    np.savez(folder / "ddpmpp-tiny-out.npz", raw=raw, denoised=denoised.astype(np.float32))


def preconditioned(x, sigma, raw):
    """The image that becomes the network's input `x`, and what EDM makes of its output."""
    s, d = sigma.numpy()[:, None, None, None].astype(np.float64), 0.5
    image = x.numpy() * np.sqrt(s**2 + d**2)
    return image, d**2 / (s**2 + d**2) * image + s * d / np.sqrt(s**2 + d**2) * raw


def relative(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-30)


def run(*command):
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return f"{time.perf_counter() - start:.1f} s, peak so far {peak:.2f} GiB"


def by_onnx(cm, weights, folder, arrays):
    """What onnxruntime makes of the exported denoiser, and the bytes of its files."""
    import onnxruntime

    out = folder / "onnx"
    print("export:", run(cm, "export", weights, "--format", "onnx", "--out", out))
    session = onnxruntime.InferenceSession(out / "denoiser.onnx", providers=["CPUExecutionProvider"])
    given = {"x": arrays["x"], "sigma": arrays["sigma"].astype(np.float32)}
    if "labels" in arrays:
        given["class"] = arrays["labels"].astype(np.int64)
    start = time.perf_counter()
    (denoised,) = session.run(None, given)
    print(f"onnxruntime: {time.perf_counter() - start:.1f} s")
    return denoised, {path.name: path.stat().st_size for path in sorted(out.glob("*.onnx*"))}


def check(preset, cm, backward, legacy, flax, onnx):
    make, size = PRESETS[preset]
    module = filled(make())
    parameters = sum(value.numel() for value in module.state_dict().values())
    print(f"{preset}: {parameters} parameters, torch {torch.__version__}, {torch.get_num_threads()} threads")
    count = 1 if size >= 64 else 2
    x, sigma, labels = example(module, size, count)
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        folder = pathlib.Path(folder)
        if flax:
            import flax.serialization

            tree = {"params_ema": flax_tree(module.state_dict()), "step": 1}
            (folder / "w.msgpack").write_bytes(flax.serialization.to_bytes(tree))
            original = folder / "w.msgpack"
        else:
            original = folder / "w.pt"
            torch.save(module.state_dict(), original, _use_new_zipfile_serialization=not legacy)
        weights = folder / "w.safetensors"
        print("import:", run(cm, "import", original, "--precondition", "edm", "--out", weights))
        start = time.perf_counter()
        if backward:
            output, grad_x, named = gradients(module, x, sigma, labels)
        else:
            with torch.no_grad():
                output = evaluate(module, x, sigma, labels)
        print(f"PyTorch: {time.perf_counter() - start:.1f} s")
        image, expected = preconditioned(x, sigma, output.numpy())
        arrays = {"x": image.astype(np.float32), "sigma": sigma.numpy()}
        if labels is not None:
            arrays["labels"] = labels.numpy()
        arguments = ["--weights", weights, "--input", folder / "in.npz", "--out", folder / "out.npz"]
        if backward:
            seed = noise("seed", output.numel()).astype(np.float32)
            arrays["seed"] = seed.reshape(output.shape)
            arguments += ["--gradients", folder / "gradients.safetensors"]
        np.savez(folder / "in.npz", **arrays)
        print("denoise:", run(cm, "denoise", *arguments))
        ours = np.load(folder / "out.npz")
        ours_denoised = ours["denoised"]
        print(f"forward: relative error {relative(ours['raw'], output.numpy()):.2e}")
        print(f"denoised: relative error {relative(ours['denoised'], expected):.2e}")
        if backward:
            print(f"input's gradient: relative error {relative(ours['input_gradient'], grad_x.numpy()):.2e}")
            ours = safetensors.numpy.load_file(folder / "gradients.safetensors")
            # A key's bias alone has no gradient but rounding.
            errors = {
                name: relative(ours[name], value.numpy())
                for name, value in named.items()
                if not name.endswith("NIN_1.b")
            }
            worst = max(errors, key=errors.get)
            print(f"parameters' gradients: worst relative error {errors[worst]:.2e}, of {worst}")
        if onnx:
            denoised, files = by_onnx(cm, weights, folder, arrays)
            error = abs(denoised - ours_denoised).max() / np.ptp(ours_denoised)
            print(f"ONNX: largest difference {error:.1e} of the range, {files}")
        exported = folder / ("back.msgpack" if flax else "back.pt")
        print("export:", run(cm, "export", weights, "--out", exported))
        if not flax:
            back = torch.load(exported, weights_only=True)
            same = all(torch.equal(back[name], value) for name, value in module.state_dict().items())
            assert same and len(back) == len(module.state_dict()), "the round trip changed weights"
            print("round trip: bit-exact")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fixtures")
    one = commands.add_parser("check")
    one.add_argument("preset", choices=PRESETS)
    one.add_argument("--cm", default=ROOT / "target/release/cm")
    one.add_argument("--backward", action="store_true")
    one.add_argument("--legacy", action="store_true", help="save in PyTorch's old layout")
    one.add_argument("--onnx", action="store_true", help="export to ONNX, too, and let onnxruntime denoise")
    one.add_argument("--flax", action="store_true", help="save as Flax does (the networks of CIFAR-10)")
    arguments = parser.parse_args()
    if arguments.command == "fixtures":
        fixtures()
    else:
        check(arguments.preset, arguments.cm, arguments.backward, arguments.legacy, arguments.flax, arguments.onnx)


if __name__ == "__main__":
    main()
