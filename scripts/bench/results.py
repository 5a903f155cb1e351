"""The committed tables of ratios, `experiments/results/speed-INSTRUCTIONS.csv`: a row for each processor, number of
threads, clock and case, the newest measurement of it. `compare.py --record` writes them; run as a program, this prints README's
table from one of them: `scripts/bench/results.py experiments/results/speed-avx2.csv`.
"""

import csv
import sys
from pathlib import Path

KEY = ("processor", "threads", "clock", "bench", "case")
FIELDS = (*KEY, "pytorch_version", "rounds", "ours_ms", "pytorch_ms", "pytorch", "pytorch_ways", "ratio", "lowest_ratio",
          "highest_ratio", "gflops", "share_of_peak")
NETWORKS = {
    "small": "8x8, 1.03 M parameters",
    "medium": "32x32, 6.99 M",
    "ddpm++": "DDPM++ for CIFAR-10, 55.7 M",
    "adm-imagenet64": "ADM for ImageNet 64x64, 296 M",
}


def processor():
    """Its name, family and model: virtual machines hide the name's second half."""
    told = {}
    with open("/proc/cpuinfo") as info:
        for line in info:
            name, _, value = line.partition(":")
            told.setdefault(name.strip(), value.strip())
    return f"{told['model name']}, family {told['cpu family']}, model {told['model']}"


def read(path):
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def record(folder, isa, rows):
    """Adds rows to the table of an instruction set; a case that is there already is replaced."""
    path = folder / f"speed-{isa}.csv"
    shown = lambda value: "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    rows = [{field: shown(row[field]) for field in FIELDS} for row in rows]
    key = lambda row: tuple(row[field] for field in KEY)
    new = {key(row): row for row in rows}
    kept = [new.pop(key(row), row) for row in read(path)]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *new.values()])
    return path


def told(row):
    """A cell: the time and the ratio."""
    if row is None:
        return ""
    milliseconds = float(row["ours_ms"])
    time = f"{milliseconds / 1e3:.2f} s" if milliseconds >= 100 else f"{milliseconds:.2g} ms"
    return f"{time}, {float(row['ratio']):.2f}"


def readme(rows):
    """Networks by cases, `time, ratio`; a table for each processor, number of threads and clock."""
    text = ""
    conditions = lambda row: (row["processor"], row["threads"], row["clock"])
    for processor, threads, clock in dict.fromkeys(map(conditions, rows)):
        found = {row["case"]: row for row in rows if conditions(row) == (processor, threads, clock)}
        text += f"{processor}, threads: {threads}, {clock} time:\n\n"
        text += "| network | images | teacher's step | distillation's step | one-step sampling | of one image |\n"
        text += "|---|---:|---:|---:|---:|---:|\n"
        for network, name in NETWORKS.items():
            batches = sorted(int(case.split("-")[-1]) for case in found if case.startswith(f"{network}/batch-"))
            largest = batches[-1] if batches else ""
            cells = [f"{network}/teacher", f"{network}/distillation", f"{network}/batch-{largest}", f"{network}/batch-1"]
            if any(cell in found for cell in cells):
                cells = " | ".join(told(found.get(cell)) for cell in cells)
                text += f"| {name} | {largest} | {cells} |\n"
        for case in [case for case in found if case.startswith("inception/batch-")]:
            text += f"| FID's Inception network | {case.split('-')[-1]} | | | {told(found[case])} | |\n"
        text += "\n"
    return text


if __name__ == "__main__":
    print(readme(read(Path(sys.argv[1]))), end="")
