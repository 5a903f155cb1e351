"""The networks of Karras et al. 2022 and 2024 by their own classes against ours, through their own pickles.

    python scripts/parity/edm.py check --edm CHECKOUT [--cm target/release/cm] [--keep FOLDER] [NAME ...]
        random weights in the original classes, pickled as their training does, through `cm import` and `cm denoise`; prints
        the largest difference over the largest value. Also bare state dicts, and half precision.

    python scripts/parity/edm.py fixtures --edm CHECKOUT
        writes tests/fixtures/parity/edm-*.safetensors (inputs and outputs; the weights are a formula of their names, as in
        `networks.py`) and edm-*.pkl (small networks whose source is replaced by a line that must never run).

CHECKOUT is a clone of github.com/NVlabs/edm; with --edm2 instead, of github.com/NVlabs/edm2. Nothing of it is kept here.
Needs torch, numpy, safetensors and what the checkout imports.
"""

import argparse
import collections
import copy
import json
import pathlib
import pickle
import subprocess
import sys
import tempfile

import numpy as np
import safetensors.numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from networks import noise  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
FIXTURES = ROOT / "tests/fixtures/parity"

SONG = dict(img_resolution=8, img_channels=3, model_type="SongUNet", model_channels=8, channel_mult=[1, 2], num_blocks=1)
SONG |= dict(attn_resolutions=[4], dropout=0.1)
NCSNPP = dict(embedding_type="fourier", channel_mult_noise=2, encoder_type="residual", resample_filter=[1, 3, 3, 1])
ADM = dict(img_resolution=8, img_channels=3, model_type="DhariwalUNet", model_channels=32, channel_mult=[1, 2])
ADM |= dict(num_blocks=1, attn_resolutions=[4])

# Preconditioner, and what it is made with.
CASES = {
    "song-ddpmpp": ("EDMPrecond", SONG),
    "song-ncsnpp": ("EDMPrecond", SONG | NCSNPP),
    "song-labels": ("EDMPrecond", SONG | dict(label_dim=5, augment_dim=9, label_dropout=0.1, sigma_data=0.7)),
    "song-skip": ("EDMPrecond", SONG | dict(encoder_type="skip", decoder_type="skip", channel_mult=[1, 1, 2])),
    "song-skip-fir": (
        "EDMPrecond",
        SONG | dict(encoder_type="skip", decoder_type="skip", resample_filter=[1, 3, 3, 1], channel_mult=[1, 2, 3]),
    ),
    "song-residual-plain": (
        "EDMPrecond",
        SONG | dict(encoder_type="residual", channel_mult_noise=3, channel_mult_emb=2, num_blocks=2, channel_mult=[2, 1, 1]),
    ),
    "song-fir-decoder": (
        "EDMPrecond",
        SONG | dict(resample_filter=[1, 3, 3, 1], decoder_type="skip", embedding_type="fourier", attn_resolutions=[8, 2])
        | dict(channel_mult=[1, 2, 2], img_channels=1),
    ),
    "song-vp": ("VPPrecond", SONG | dict(beta_d=19.1)),
    "song-ve": ("VEPrecond", SONG | NCSNPP),
    "song-iddpm": ("iDDPMPrecond", SONG | dict(decoder_type="skip")),
    "song-many-turns": ("iDDPMPrecond", SONG | dict(embedding_type="fourier")),
    "song-one-level": ("EDMPrecond", SONG | dict(channel_mult=[2], attn_resolutions=[8], label_dim=2)),
    "adm": ("EDMPrecond", ADM | dict(label_dim=4, augment_dim=6)),
    "adm-heads": (
        "EDMPrecond",
        ADM | dict(model_channels=64, channel_mult=[1, 2, 3], attn_resolutions=[8, 2], channel_mult_emb=2),
    ),
    "adm-odd": ("EDMPrecond", ADM | dict(model_channels=32, channel_mult=[2, 1, 3], num_blocks=2, img_channels=4)),
    "adm-iddpm": ("iDDPMPrecond", ADM | dict(M=500, C_2=0.01)),
}
EDM2 = dict(img_resolution=8, img_channels=3, label_dim=0, model_channels=8, channel_mult=[1, 2], num_blocks=1)
EDM2 |= dict(attn_resolutions=[4], channels_per_head=8)
CASES2 = {
    "edm2": ("Precond", EDM2 | dict(label_dim=5, dropout=0.1)),
    "edm2-others": (
        "Precond",
        EDM2
        | dict(channel_mult=[2, 1, 3], num_blocks=2, attn_resolutions=[8, 4], channel_mult_noise=1, channel_mult_emb=2)
        | dict(resample_filter=[1, 3, 3, 1], res_balance=0.4, attn_balance=0.25, concat_balance=0.6, label_balance=0.3)
        | dict(clip_act=2, sigma_data=0.8, label_dim=3, img_channels=4),
    ),
    "edm2-alone": ("Precond", EDM2 | dict(channels_per_head=64, model_channels=32, img_resolution=12, clip_act=None)),
}
TINY2 = {"edm2": ("Precond", EDM2 | dict(model_channels=4, channels_per_head=4, label_dim=3, res_balance=0.35))}
TINY = {
    "song": ("EDMPrecond", SONG | NCSNPP | dict(label_dim=3, augment_dim=9, model_channels=4, channel_mult_emb=2)),
    "adm": ("EDMPrecond", ADM | dict(model_channels=4, label_dim=3, sigma_data=0.6)),
}


def formula(name, shape):
    """As `networks.py` has it, of every array that is a weight."""
    values = noise(name, int(np.prod(shape, dtype=int)))
    if name.endswith(".freqs"):
        return (4.0 * values).astype(np.float32).reshape(shape)
    if len(shape) == 1:
        return (0.2 * values + (1.0 if name.endswith(".weight") else 0.0)).astype(np.float32)
    inputs = np.prod(shape[1:], dtype=int)
    return (np.sqrt(1.5 / inputs) * values).astype(np.float32).reshape(shape)


def filled(net):
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if not name.endswith("resample_filter") and name != "u":
                value.copy_(torch.from_numpy(formula(name, tuple(value.shape))))
    return net.eval().requires_grad_(False)


def example(net, count=3):
    c, r = net.img_channels, net.img_resolution
    x = torch.from_numpy(2 * noise("x", count * c * r * r).astype(np.float32)).reshape(count, c, r, r)
    sigma = torch.tensor([0.1, 1.5, 30.0][:count])
    labels = torch.arange(count) % net.label_dim if net.label_dim else None
    one_hot = torch.nn.functional.one_hot(labels, net.label_dim).float() if net.label_dim else None
    return x * sigma.reshape(-1, 1, 1, 1), sigma, labels, one_hot


def outputs(net):
    """x, sigma, labels, the network's own output, and the denoised image."""
    x, sigma, labels, one_hot = example(net)
    raw = []
    inner = net.model if hasattr(net, "model") else net.unet
    hook = inner.register_forward_hook(lambda module, inputs, output: raw.append(output))
    denoised = net(x, sigma, one_hot)
    hook.remove()
    arrays = {"x": x, "sigma": sigma, "raw": raw[0][:, : net.img_channels], "denoised": denoised}
    if labels is not None:
        arrays["labels"] = labels.float()
    return {name: value.numpy().astype(np.float32) for name, value in arrays.items()}


def snapshot(net, args):
    """What their training pickles."""
    import dnnlib

    if args.edm2:
        from training.encoders import StandardRGBEncoder

        return dnnlib.EasyDict(encoder=StandardRGBEncoder(), dataset_kwargs=dict(path="x.zip"), loss_fn=None, ema=net)
    return dict(ema=net, loss_fn=None, augment_pipe=None, dataset_kwargs=dict(path="x.zip"))


def difference(ours, theirs):
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def cm(binary, *arguments):
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
    return done.stdout


def compared(binary, folder, file, arrays, *more):
    np.savez(folder / "in.npz", **{k: v for k, v in arrays.items() if k in ("x", "sigma", "labels")})
    told = cm(binary, "import", file, "--out", folder / "weights.safetensors", *more)
    cm(binary, "denoise", "--weights", folder / "weights.safetensors", "--input", folder / "in.npz", "--out", folder / "out.npz")
    ours = np.load(folder / "out.npz")
    return [difference(ours[name], arrays[name]) for name in ("raw", "denoised")], told


def check(networks, args):
    worst = 0.0
    for name, (wrapper, kwargs) in (CASES2 if args.edm2 else CASES).items():
        if args.names and name not in args.names:
            continue
        torch.manual_seed(len(name))
        net = getattr(networks, wrapper)(**kwargs).eval().requires_grad_(False)
        for parameter in net.parameters():
            if parameter.abs().max() < 1e-3:
                parameter.copy_((0.5 if parameter.ndim == 0 else 0.1) * torch.randn_like(parameter))
        arrays = outputs(net)
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(args.keep or scratch)
            file = folder / f"{name}.pkl"
            file.write_bytes(pickle.dumps(snapshot(copy.deepcopy(net), args), 4))
            (raw, denoised), told = compared(args.cm, folder, file, arrays)
            worst = max(worst, raw, denoised)
            print(f"{name:20} pickle     raw {raw:.2e}  denoised {denoised:.2e}", flush=True)
            if args.tell:
                print(told)
            state = folder / f"{name}.pt"
            torch.save(collections.OrderedDict(net.state_dict()), state)
            which = {"VPPrecond": "vp", "VEPrecond": "ve", "iDDPMPrecond": "iddpm"}.get(wrapper, "edm")
            more = ["--head-channels", kwargs["channels_per_head"]] if args.edm2 else []
            # A state dict says nothing of other balances and filters.
            if name != "edm2-others":
                (raw, denoised), told = compared(args.cm, folder, state, arrays, "--precondition", which, *more)
                print(f"{'':20} state dict raw {raw:.2e}  denoised {denoised:.2e} (published numbers)", flush=True)
            half = copy.deepcopy(net).to(torch.bfloat16 if len(name) % 2 else torch.float16)
            file.write_bytes(pickle.dumps(dict(ema=half), 4))
            (raw, denoised), _ = compared(args.cm, folder, file, outputs(half.float()))
            worst = max(worst, raw, denoised)
            print(f"{'':20} 16 bits    raw {raw:.2e}  denoised {denoised:.2e}", flush=True)
    print(f"worst of pickles: {worst:.2e}")


def fixtures(networks, persistence, args):
    for name, (wrapper, kwargs) in (CASES2 if args.edm2 else CASES).items():
        net = filled(getattr(networks, wrapper)(**kwargs))
        arrays = outputs(net)
        shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
        text = {"shapes": json.dumps(shapes, separators=(",", ":")), "wrapper": wrapper}
        safetensors.numpy.save_file(arrays, FIXTURES / f"edm-{name}.safetensors", text)
    for name, (wrapper, kwargs) in (TINY2 if args.edm2 else TINY).items():
        net = filled(getattr(networks, wrapper)(**kwargs)).half().float()
        arrays = outputs(net)
        safetensors.numpy.save_file(arrays, FIXTURES / f"edm-{name}-tiny.safetensors")
        content = snapshot(net.half(), args)
        for decorator in persistence._decorators:
            decorator._orig_module_src = "raise SystemExit('the source in a pickle was run')\n"
        (FIXTURES / f"edm-{name}-tiny.pkl").write_bytes(pickle.dumps(content, 4))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["check", "fixtures"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--edm")
    parser.add_argument("--edm2")
    parser.add_argument("--cm", default=str(ROOT / "target/release/cm"))
    parser.add_argument("--keep")
    parser.add_argument("--tell", action="store_true")
    args = parser.parse_args()
    sys.path.insert(0, args.edm2 or args.edm)
    from torch_utils import persistence

    if args.edm2:
        from training import networks_edm2 as networks
    else:
        from training import networks

    torch.set_num_threads(1)
    with torch.no_grad():
        check(networks, args) if args.task == "check" else fixtures(networks, persistence, args)


if __name__ == "__main__":
    main()
