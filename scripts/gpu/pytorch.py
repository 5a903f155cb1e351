"""PyTorch's times on a card, for `scripts/gpu/first-card`: a line of JSON for each case and each way to use PyTorch.

`step`: whole training steps of the networks that `scripts/bench/compare.py` shows to be the same as ours, eager, eager in
channels_last and compiled. `products`: a copy, products of matrices (cuBLAS) and convolutions (cuDNN) of the sizes of
`cm bench gpu`.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import compare

TYPES = {"F32": torch.float32, "Tf32": torch.float32, "Bf16": torch.bfloat16}


def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(work, repeats, device):
    """The median, after three runs that are not counted: one compiles, the others warm up."""
    for _ in range(3):
        work()
    synchronise(device)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        synchronise(device)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def tell(case, median, gflop, device):
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else float("nan")
    line = {"case": case, "median_ms": median, "gflops": gflop / median * 1e3, "peak_mib": peak}
    print(json.dumps(line, separators=(",", ":")), flush=True)


def steps(args):
    compare.BATCH[args.network] = args.batch
    autocast = contextlib.nullcontext()
    if args.precision == "Bf16":
        autocast = torch.autocast(args.device, dtype=torch.bfloat16)
    for contender in compare.CONTENDERS:
        if args.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        case = f"PyTorch {contender.name}, {args.network} {args.precision} teacher, {args.batch} images"
        try:
            step = contender.teacher_step(args.network)
            with autocast:
                median = milliseconds(step, args.repeats, args.device)
        except Exception as error:  # a compiler may be missing, or memory
            print(f"{case}: {error!s:.300}", file=sys.stderr, flush=True)
            continue
        tell(case, median, 0.0, args.device)


def products(args):
    x = torch.zeros(args.values, device=args.device)
    y = torch.empty_like(x)
    median = milliseconds(lambda: y.copy_(x), args.repeats, args.device)
    tell(f"PyTorch copy of {args.values >> 18} MiB, {8e-6 * args.values / median:.0f} GB/s", median, 0.0, args.device)
    for precision in TYPES:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "Tf32"
        kind = TYPES[precision]
        rows = args.rows
        a = torch.randn(rows, 2048, device=args.device, dtype=kind)
        b = torch.randn(2048, 2048, device=args.device, dtype=kind)
        median = milliseconds(lambda: a @ b, args.repeats, args.device)
        tell(f"PyTorch product {precision} {rows}x2048_2048", median, 2e-9 * rows * 2048**2, args.device)
        for side, size, inputs, outputs in [(3, 32, 128, 128), (3, 32, 256, 256), (1, 16, 256, 768)]:
            batch = args.images
            place = dict(device=args.device, dtype=kind)
            x = torch.randn(batch, inputs, size, size, **place).to(memory_format=torch.channels_last)
            w = torch.randn(outputs, inputs, side, side, **place).to(memory_format=torch.channels_last)
            with torch.no_grad():
                work = lambda: torch.nn.functional.conv2d(x, w, padding=side // 2)
                median = milliseconds(work, args.repeats, args.device)
            gflop = 2e-9 * batch * size**2 * inputs * outputs * side**2
            tell(f"PyTorch conv2d.forward {precision} {side}x{side}_{batch}x{size}x{size}_{inputs}to{outputs}", median, gflop, args.device)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["step", "products"])
    parser.add_argument("--network", default="medium", choices=list(compare.NETWORKS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="F32", choices=list(TYPES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--values", type=int, default=64 << 20, help="of the copy")
    parser.add_argument("--rows", type=int, default=8192, help="of the product")
    parser.add_argument("--images", type=int, default=64, help="of the convolutions")
    args = parser.parse_args()
    torch.set_default_device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.precision == "Tf32"
    torch._functorch.config.donated_buffer = False
    {"step": steps, "products": products}[args.what](args)


if __name__ == "__main__":
    main()
