"""Times `cm` and PyTorch side by side: whole training steps, one-step sampling, single kernels, FID's network.

Each round times every contender once, one after the other, so that what else happens on the machine hits all of them.
PyTorch may choose its best of eager, eager in channels_last, and torch.compile in channels_last; who is behind the best of
them by more than LEAVES in the first round leaves the race. Before anything is timed, both programs are shown to compute
the same function and the same gradients from the same weights.

Writes comparison.csv and comparison.md (one row a case) into --out, and with --record into the committed table of this
instruction set, see results.py. Run through `scripts/bench/run`.
"""

import argparse
import contextlib
import copy
import csv
import functools
import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch._functorch.config
import torch.nn.functional as F
import results
from unet import UNet

NETWORKS = {
    "small": dict(height=8, image_channels=1, channels=32, multipliers=[1, 2], blocks=2, attention=[4], scale=4.0),
    "medium": dict(height=32, image_channels=3, channels=64, multipliers=[1, 2, 2], blocks=2, attention=[16], scale=4.0),
    "ddpm++": dict(height=32, image_channels=3, channels=128, multipliers=[2, 2, 2], blocks=4, attention=[16], scale=4.0),
}
# The paper's largest; scripts/parity/networks.py shows that they compute the same.
LARGE = {"adm-imagenet64": 64, "adm-lsun256": 256}
BATCH = {"small": 64, "medium": 32, "ddpm++": 4, "adm-imagenet64": 1, "adm-lsun256": 1}
SIGMA_DATA, SIGMA_MIN, SIGMA_MAX, RHO, LEVELS = 0.5, 0.002, 80.0, 7.0, 18


def read_safetensors(path):
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"]).copy()
        for name, entry in header.items()
    }


def images(network, count):
    size = NETWORKS[network]
    return torch.randn(count, size["image_channels"], size["height"], size["height"])


def per_image(values):
    return values[:, None, None, None]


# --- the two programs compute the same ------------------------------------------------------------------------------


def check_same_function(cm, network):
    """The largest relative error (by the largest value) of output and gradients."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.safetensors"
        subprocess.run([cm, "bench", "export", "--network", network, path], check=True)
        arrays = read_safetensors(path)
    part = lambda prefix: {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    net = UNet(**NETWORKS[network])
    net.load_ours(part("weights/"))
    on_device = lambda name: torch.from_numpy(arrays[name]).to(torch.get_default_device())
    nchw = lambda name: on_device(name).permute(0, 3, 1, 2).contiguous()
    y = net(nchw("x"), on_device("c_noise"))
    y.backward(nchw("grad_y"))
    relative = lambda ours, theirs: float((ours - theirs).abs().max() / theirs.abs().max())
    errors = {"output": relative(nchw("y"), y.detach())}
    gradients = UNet(**NETWORKS[network]).requires_grad_(False)
    gradients.load_ours(part("gradients/"))
    errors["gradients"] = max(
        relative(ours, parameter.grad)
        for ours, parameter in zip(gradients.parameters(), net.parameters(), strict=True)
    )
    for what, error in errors.items():
        assert error < 2e-4, f"{network}: {what} differ by {error:.1e}"
    return errors


# --- PyTorch's steps --------------------------------------------------------------------------------------------------


def edm(net, x, sigma):
    s = per_image(sigma)
    norm = (s**2 + SIGMA_DATA**2).sqrt()
    return (SIGMA_DATA / norm) ** 2 * x + s * SIGMA_DATA / norm * net(x / norm, 0.25 * sigma.log())


def consistency(net, x, sigma):
    s = per_image(sigma)
    norm = (s**2 + SIGMA_DATA**2).sqrt()
    skip = SIGMA_DATA**2 / ((s - SIGMA_MIN) ** 2 + SIGMA_DATA**2)
    return skip * x + (s - SIGMA_MIN) * SIGMA_DATA / norm * net(x / norm, 0.25 * sigma.log())


def heun(net, x, upper, lower):
    t, s = per_image(upper), per_image(lower)
    slope = (x - edm(net, x, upper)) / t
    euler = x + (s - t) * slope
    return x + (s - t) * (slope + (euler - edm(net, euler, lower)) / s) / 2


class Contender:
    """One way to use PyTorch."""

    def __init__(self, name, channels_last=False, compiled=False):
        self.name, self.channels_last, self.compiled = name, channels_last, compiled

    def place(self, what):
        return what.to(memory_format=torch.channels_last) if self.channels_last else what

    def network(self, network):
        torch.manual_seed(0)
        net = self.place(UNet(**NETWORKS[network]))
        return net, torch.compile(net) if self.compiled else net

    def teacher_step(self, network):
        net, call = self.network(network)
        average = copy.deepcopy(net)
        optimiser = torch.optim.RAdam(net.parameters(), lr=1e-4)
        clean = self.place(images(network, BATCH[network]))

        def work():
            sigma = (1.2 * torch.randn(len(clean)) - 1.2).exp()
            noisy = clean + per_image(sigma) * torch.randn_like(clean)
            weight = per_image((sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2)
            loss = (weight * (edm(call, noisy, sigma) - clean) ** 2).sum() / len(clean)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1e-3)

        return work

    def distillation_step(self, network):
        net, call = self.network(network)
        _, teacher = self.network(network)
        target_net, target = self.network(network)
        average = copy.deepcopy(net)
        optimiser = torch.optim.RAdam(net.parameters(), lr=1e-4)
        clean = self.place(images(network, BATCH[network]))
        ramp = torch.linspace(0, 1, LEVELS, dtype=torch.float64)
        levels = ((SIGMA_MIN ** (1 / RHO) + ramp * (SIGMA_MAX ** (1 / RHO) - SIGMA_MIN ** (1 / RHO))) ** RHO).float()

        def work():
            index = torch.randint(LEVELS - 1, (len(clean),))
            upper, lower = levels[index + 1], levels[index]
            noisy = clean + per_image(upper) * torch.randn_like(clean)
            with torch.no_grad():
                below = heun(teacher, noisy, upper, lower)
                wanted = consistency(target, below, lower)
            loss = ((consistency(call, noisy, upper) - wanted) ** 2).sum() / len(clean)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(target_net.parameters()), list(net.parameters()), 0.05)
                torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1e-3)

        return work

    def sampling(self, network, batch):
        if network in LARGE:
            return self.large_sampling(network, batch)
        _, call = self.network(network)
        noisy, sigma = self.place(80.0 * images(network, batch)), torch.full((batch,), SIGMA_MAX)

        def work():
            with torch.no_grad():
                consistency(call, noisy, sigma)

        return work

    def large_sampling(self, network, batch):
        model = self.place(large_network(network))
        call = torch.compile(model) if self.compiled else model
        x = self.place(torch.randn(batch, 3, LARGE[network], LARGE[network]))
        c_noise, labels = torch.full((batch,), 250.0), torch.zeros(batch, dtype=torch.long)
        return no_grad(lambda: call(x, c_noise, labels if hasattr(model, "label_emb") else None))

    def inception(self, batch):
        """FID's network of images that are resized already; ours resizes them within its time."""
        model = self.place(fid_network())
        call = torch.compile(model) if self.compiled else model
        x = self.place(torch.rand(batch, 3, 299, 299))
        return no_grad(lambda: call(x))

    def conv(self, side, what, batch, size, inputs, outputs):
        x, grad = self.place(torch.randn(batch, inputs, size, size)), self.place(torch.randn(batch, outputs, size, size))
        weight, bias, pad = self.place(torch.randn(outputs, inputs, side, side)), torch.randn(outputs), side // 2
        if what == "forward":
            return no_grad(lambda: F.conv2d(x, weight, bias, padding=pad))
        mask = [what == "backward_data", what == "backward_weight", False]
        back = torch.ops.aten.convolution_backward
        return no_grad(lambda: back(grad, x, weight, None, [1, 1], [pad, pad], [1, 1], False, [0, 0], 1, mask))

    def group_norm_silu(self, what, batch, pixels, channels):
        side = int(pixels**0.5)
        x = self.place(torch.randn(batch, channels, side, side)).requires_grad_(what == "backward")
        weight, bias = (torch.randn(channels).requires_grad_(what == "backward") for _ in range(2))
        groups = min(32, channels // 4)
        call = lambda: F.silu(F.group_norm(x, groups, weight, bias, 1e-6))
        call = torch.compile(call) if self.compiled else call
        if what == "forward":
            return no_grad(call)
        y = call()
        grad = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, [x, weight, bias], grad, retain_graph=True)

    def attention(self, what, batch, tokens, dim):
        q, k, v = (torch.randn(batch, 1, tokens, dim, requires_grad=what == "backward") for _ in range(3))
        call = lambda: F.scaled_dot_product_attention(q, k, v)
        if what == "forward":
            return no_grad(call)
        y = call()
        grad = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, [q, k, v], grad, retain_graph=True)


sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))


@functools.cache
def large_network(network):
    import networks

    return networks.PRESETS[network][0]().eval()


def fid_network():
    import inception

    return inception.randomise(inception.Inception(), 1)


def no_grad(call):
    def work():
        with torch.no_grad():
            call()

    return work


CONTENDERS = [
    Contender("eager"),
    Contender("channels_last", channels_last=True),
    Contender("compile", channels_last=True, compiled=True),
]


def prepare(contender, bench, case):
    """PyTorch's twin of one of our cases, by name."""
    if bench == "step":
        network, method = case.split("/")
        return {"teacher": contender.teacher_step, "distillation": contender.distillation_step}[method](network)
    if bench == "sample":
        network, batch = case.split("/batch-")
        return contender.sampling(network, int(batch))
    if bench == "evaluation":
        return contender.inception(int(case.removeprefix("inception/batch-")))
    op, size = case.split("/")
    kind, what = op.split(".")
    left, right = size.split("_")
    numbers = [int(n) for n in left.split("x")]
    if kind.startswith("conv2d"):
        batch, height, _ = numbers
        side = 1 if kind == "conv2d_1x1" else 3
        return contender.conv(side, what, batch, height, *map(int, right.split("to")))
    return {"group_norm_silu": contender.group_norm_silu, "attention": contender.attention}[kind](
        what, *numbers, int(right)
    )


# --- the race ---------------------------------------------------------------------------------------------------------


class Ours:
    """`cm bench ... --serve`."""

    def __init__(self, cm, threads, *args):
        self.process = subprocess.Popen(
            [cm, "bench", *args, "--serve", "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time(self, case, repeats):
        self.process.stdin.write(f"{case} {repeats}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def milliseconds(self, case, repeats, clock):
        """The record, and the median time, or by the processor's clock the mean; that counts the untimed run as well."""
        before = self.processor_time()
        record = self.time(case, repeats)
        if clock == "processor":
            return record, 1e3 * (self.processor_time() - before) / (repeats + 1)
        return record, record["median_ms"]

    def processor_time(self):
        """Seconds of processor time of the process's threads so far."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return 1e-9 * sum(int(thread.read_text().split()[0]) for thread in threads)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def synchronise():
    """A GPU works on while Python has gone on; our steps end with their losses at hand."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


def theirs(work, repeats, clock):
    """The median time. One run before is not counted, as on our side: while another process had its turn, this one's
    memory may have been taken away."""
    work()
    synchronise()
    times = []
    now = time.process_time if clock == "processor" else time.perf_counter
    for _ in range(repeats):
        start = now()
        work()
        synchronise()
        times.append(1e3 * (now() - start))
    return statistics.median(times)


# Nanoseconds in which a cache line goes from one thread to the other, up to which their cores share a cache.
NEAR = 120


# Held during a round: who shares the machine with others puts a lock here.
turn = contextlib.nullcontext()

# A way to use PyTorch that takes so many times as long as the best of them in the first round is not timed again.
LEAVES = 1.15


def race(ours, bench, case, rounds, seconds, pytorch, clock):
    """Medians over the rounds, the smallest and largest ratio within a round, and the median ratio of the rounds in
    which our threads' cores were near each other, and of those in which they were far."""
    works = {}
    for contender in [contender for contender in CONTENDERS if contender.name in pytorch]:
        try:
            work = prepare(contender, bench, case)
            work()
            works[contender.name] = work
        except Exception as error:  # torch.compile needs a C++ compiler, which may be missing
            print(f"note: {case}: PyTorch {contender.name} does not run here: {error!s:.200}")
    often = lambda milliseconds: max(1, int(1e3 * seconds / milliseconds))
    repeats = often(ours.milliseconds(case, 1, clock)[1])
    counts = {name: often(theirs(work, 1, clock)) for name, work in works.items()}
    mine, handovers, others, record = [], [], {name: [] for name in works}, None
    for number in range(rounds):
        with turn:
            record, taken = ours.milliseconds(case, repeats, clock)
            mine.append(taken)
            handovers.append(record["handover_ns"] or 0)
            for name, work in works.items():
                others[name].append(theirs(work, counts[name], clock))
        print(f"  round {number}: cm {mine[-1]:.4g} ms, " + ", ".join(f"{n} {t[-1]:.4g}" for n, t in others.items()), flush=True)
        if number == 0:
            fastest = min(times[0] for times in others.values())
            works = {name: work for name, work in works.items() if others[name][0] <= LEAVES * fastest}
    others = {name: others[name] for name in works}
    best = min(others, key=lambda name: statistics.median(others[name]))
    ratios = [b / a for a, b in zip(mine, others[best], strict=True)]
    near = [ratio for ratio, handover in zip(ratios, handovers, strict=True) if handover <= NEAR]
    far = [ratio for ratio, handover in zip(ratios, handovers, strict=True) if handover > NEAR]
    median = statistics.median(mine)
    return {
        "bench": bench,
        "case": case,
        "isa": record["isa"],
        "threads": record["threads"],
        "clock": clock,
        "rounds": rounds,
        "ours_ms": median,
        "gflops": record["gflop"] / median * 1e3,
        # The peak is measured by the wall's clock.
        "share_of_peak": record["share_of_peak"] * record["median_ms"] / median
        if clock == "wall" and record["share_of_peak"]
        else None,
        "pytorch_ms": statistics.median(others[best]),
        "pytorch": best,
        "pytorch_ways": " ".join(pytorch),
        "pytorch_version": torch.__version__,
        "processor": results.processor(),
        **{f"{name}_ms": statistics.median(times) for name, times in others.items()},
        "ratio": statistics.median(others[best]) / median,
        "lowest_ratio": min(ratios),
        "highest_ratio": max(ratios),
        "near_ratio": statistics.median(near) if near else None,
        "far_ratio": statistics.median(far) if far else None,
        "near_rounds": len(near),
    }


def peak_resident_mib():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def memory_of(case):
    """What PyTorch's process has held at most after two of its fastest kind's steps."""
    work = prepare(CONTENDERS[1], "step", case)
    work(), work()
    print(json.dumps(peak_resident_mib()))


def compare_memory(cm, network):
    case = f"{network}/teacher"
    command = [cm, "bench", "step", "--network", network, "--filter", "teacher", "--repeats", "2"]
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    own = json.loads(line)["peak_resident_mib"]
    line = subprocess.run(
        [sys.executable, __file__, "--memory-of", case], check=True, capture_output=True, text=True
    ).stdout
    return own, float(line)


def markdown(rows):
    text = "| case | cm, ms | GFLOP/s | of peak | PyTorch, ms | its best | ratio | in a round | near | far |\n"
    text += "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|\n"
    told = lambda ratio: "-" if ratio is None else f"{ratio:.2f}"
    share = lambda share: "-" if share is None else f"{share:.0%}"
    for row in rows:
        text += (
            f"| {row['case']} | {row['ours_ms']:.3g} | {row['gflops']:.0f} | {share(row['share_of_peak'])} "
            f"| {row['pytorch_ms']:.3g} | {row['pytorch']} | **{row['ratio']:.2f}** "
            f"| {row['lowest_ratio']:.2f} to {row['highest_ratio']:.2f} "
            f"| {told(row['near_ratio'])} | {told(row['far_ratio'])} |\n"
        )
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cm", default="target/release/cm", help="the binary")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=[*NETWORKS, *LARGE])
    parser.add_argument("--benches", nargs="*", default=["step", "sample", "kernels"])
    parser.add_argument("--filter", default="", help="only cases with this text in their names")
    parser.add_argument("--pytorch", nargs="*", default=[contender.name for contender in CONTENDERS], help="its ways")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="least time of one contender in one round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"], help="processor: where others work, too; "
                        "compares one thread with one")
    parser.add_argument("--device", default="cpu", help="PyTorch's; cuda beside a cm under CM_DEVICE=cuda")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--record", type=Path, help="the folder of the committed tables, experiments/results")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.clock == "processor" and args.threads > 1:
        parser.error("--clock processor needs --threads 1: threads that wait for one another burn processor time")
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)
    # A compiled backward pass may otherwise destroy what the next repeat needs.
    torch._functorch.config.donated_buffer = False
    if args.memory_of:
        memory_of(args.memory_of)
        return

    notes = [
        f"PyTorch {torch.__version__}, {args.threads} threads each, {args.rounds} rounds; ratio = PyTorch / cm.",
        f"near: of the rounds in which a cache line went between two of cm's threads in at most {NEAR} ns (they share "
        "a cache); far: of the others. A virtual machine's host decides which.",
    ]
    for network in [name for name in args.networks if name in NETWORKS]:
        errors = check_same_function(args.cm, network)
        told = ", ".join(f"{what} {error:.1e}" for what, error in errors.items())
        notes.append(f"{network}: the same function, largest relative differences: {told}.")
        print(notes[-1], flush=True)

    rows = []

    def races(bench, cases, *arguments):
        cases = [case for case in cases if args.filter in case]
        if not cases:
            return
        ours = Ours(args.cm, args.threads, bench, *arguments)
        for case in cases:
            rows.append(race(ours, bench, case, args.rounds, args.seconds, args.pytorch, args.clock))
            print(markdown(rows[-1:]).splitlines()[-1], flush=True)
            if args.record:
                results.record(args.record, rows[-1]["isa"], rows[-1:])
        ours.close()

    if "step" in args.benches:
        for network in [name for name in args.networks if name in NETWORKS]:
            races("step", [f"{network}/teacher", f"{network}/distillation"], "--network", network)
    if "sample" in args.benches:
        for network in args.networks:
            cases = dict.fromkeys([f"{network}/batch-{BATCH[network]}", f"{network}/batch-1"])
            races("sample", cases, "--network", network)
    if "kernels" in args.benches:
        listed = subprocess.run([args.cm, "bench", "kernels", "--list"], check=True, capture_output=True, text=True)
        races("kernels", [case for case in listed.stdout.split() if not case.startswith("gemm")])
    if "inception" in args.benches:
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/weights.safetensors"
            save_file({name: value for name, value in fid_network().state_dict().items() if value.ndim > 0}, path)
            races("evaluation", ["inception/batch-8", "inception/batch-32"], "--inception", path)
    if "memory" in args.benches:
        for network in args.networks:
            own, other = compare_memory(args.cm, network)
            notes.append(f"{network}: peak resident memory of the teacher's step: cm {own:.0f} MiB, PyTorch {other:.0f} MiB.")
            print(notes[-1], flush=True)

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "comparison.md").write_text("\n".join(f"* {note}" for note in notes) + "\n\n" + markdown(rows))
    if rows:
        fields = list(dict.fromkeys(field for row in rows for field in row))
        with open(args.out / "comparison.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerows(rows)
    print(f"results: {args.out}/comparison.md, comparison.csv")


if __name__ == "__main__":
    main()
