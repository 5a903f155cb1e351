"""Small files as PyTorch, NumPy, Flax and safetensors write them, for the tests of `cm-import`.

Run:  python scripts/parity/foreign_files.py
Needs torch, numpy, flax and safetensors; writes crates/cm-import/tests/fixtures. The tests need no Python: every
array is `ramp` or a view of it, exact in every type.
"""

import argparse
import collections
import pathlib
import pickle

import flax.serialization
import jax.numpy as jnp
import numpy as np
import safetensors.torch
import torch

OUT = pathlib.Path(__file__).parents[2] / "crates/cm-import/tests/fixtures"


def ramp(*shape):
    """0, 1/4, 2/4, ... less 2."""
    return np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape) / 4 - 2


def torch_content():
    base = torch.from_numpy(ramp(4, 6))
    state = collections.OrderedDict()
    state["conv.weight"] = torch.from_numpy(ramp(2, 3, 3, 3))
    state["half"] = base.half()
    state["brain"] = base.bfloat16()
    state["double"] = base.double()
    state["whole"] = (base * 4).long()
    state["byte"] = (base * 4 + 8).byte()
    state["flag"] = base > 0
    state["parameter"] = torch.nn.Parameter(base.clone())
    state["turned"] = base.t()
    state["part"] = base[1:3, ::2]
    state["row"] = base[2]
    state["expanded"] = base[:, :1].expand(4, 5)
    state["scalar"] = torch.tensor(0.25)
    state["empty"] = torch.zeros(0, 3)
    state["last"] = torch.from_numpy(ramp(2, 4, 2, 2)).to(memory_format=torch.channels_last)
    state._metadata = {"": {"version": 1}}
    return {
        "state_dict": state,
        "epoch": 3,
        "lr": 1e-3,
        "size": torch.Size([1, 2]),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "args": argparse.Namespace(name="x", values=[1, 2.5, None, True]),
        "list": [base + 1, (base + 2,)],
        "numpy": ramp(2, 2),
        "score": np.float64(0.75),
        "long": 2**40,
    }


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)
        self.inner.weight.data = torch.from_numpy(ramp(2, 3))
        self.inner.bias.data = torch.from_numpy(ramp(2))

    def forward(self, x):
        return self.inner(x)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.save(torch_content(), OUT / "zip.pt")
    torch.save(torch_content(), OUT / "stream.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(Module()), OUT / "script.pt")
    plain = {"a": ramp(3, 5), "turned": np.asfortranarray(ramp(3, 5)), "big": ramp(40).astype(">f8"), "n": np.int64(7)}
    for protocol in (2, 3, 4, 5):
        (OUT / f"arrays-{protocol}.pkl").write_bytes(pickle.dumps(plain, protocol))
    np.save(OUT / "turned.npy", np.asfortranarray(ramp(3, 5)))
    np.savez(OUT / "stored.npz", x=ramp(2, 3), labels=np.arange(4))
    np.savez_compressed(OUT / "compressed.npz", x=ramp(2, 3), turned=np.asfortranarray(ramp(3, 5)))
    tree = {
        "step": 12,
        "params": {
            "Conv_0": {"kernel": jnp.asarray(ramp(3, 3, 2, 4)), "bias": jnp.asarray(ramp(4), jnp.bfloat16)},
            "list": [jnp.asarray(ramp(2)), np.float32(0.5)],
        },
        "none": None,
    }
    (OUT / "flax.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    # As arrays beyond 2^30 bytes are cut, but smaller.
    flax.serialization.MAX_CHUNK_SIZE = 16
    (OUT / "flax-cut.msgpack").write_bytes(flax.serialization.to_bytes({"a": {"b": ramp(3, 5)}}))
    tensors = {"w.half": torch.from_numpy(ramp(2, 3)).half(), "b": torch.from_numpy(ramp(3)).bfloat16()}
    safetensors.torch.save_file(tensors, OUT / "plain.safetensors", {"origin": "foreign_files.py"})


if __name__ == "__main__":
    main()
