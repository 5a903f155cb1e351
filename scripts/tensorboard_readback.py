#!/usr/bin/env python3
"""Reads the event files of runs back with TensorBoard's own reader and compares them with what the runs recorded.

    pip install tensorboard
    python scripts/tensorboard_readback.py runs/smoke

For every folder below the given one that holds a curves.csv: each of its numbers must be found at its step (in single
precision, which is all that TensorBoard keeps), no step may have more numbers than were recorded, metrics.jsonl must
hold the same numbers, and each PNG in samples/ must be found byte for byte. Also true after a stop and a resumption.
Exits with 1 and a list of differences if not.
"""

import csv
import json
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def single(value: float) -> float:
    """The nearest number in single precision."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def check(folder: pathlib.Path) -> tuple[list[str], int, int]:
    """The differences of one run, and how many numbers and pictures were compared."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    problems = []

    recorded: dict[str, list[tuple[int, float]]] = {}
    with open(folder / "curves.csv", newline="") as file:
        for row in csv.DictReader(file):
            recorded.setdefault(row["name"], []).append((int(row["step"]), float(row["value"])))
    lines: dict[str, list[tuple[int, float]]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name in row.keys() - {"step", "images"}:
            lines.setdefault(name, []).append((row["step"], float(row[name])))
    if sorted(lines) != sorted(recorded):
        problems.append(f"metrics.jsonl has {sorted(lines)}, curves.csv has {sorted(recorded)}")
    if sorted(events.Tags()["scalars"]) != sorted(recorded):
        problems.append(f"TensorBoard has {sorted(events.Tags()['scalars'])}, curves.csv has {sorted(recorded)}")

    for name, rows in recorded.items():
        if not all(s == t and same(a, b) for (s, a), (t, b) in zip(rows, lines.get(name, []))):
            problems.append(f"{name}: metrics.jsonl and curves.csv differ")
        shown = events.Scalars(name) if name in events.Tags()["scalars"] else []
        if len(shown) != len(rows):
            problems.append(f"{name}: {len(shown)} numbers in TensorBoard, {len(rows)} recorded")
        for event, (step, value) in zip(shown, rows):
            if event.step != step or not same(event.value, single(value)):
                problems.append(f"{name}: step {event.step} {event.value} in TensorBoard, {step} {value} recorded")

    shown = {
        f"{name.replace('/', '-')}-{event.step:08}.png": event.encoded_image_string
        for name in events.Tags()["images"]
        for event in events.Images(name)
    }
    written = {path.name: path.read_bytes() for path in (folder / "samples").glob("*.png")}
    if shown.keys() != written.keys():
        problems.append(f"pictures in TensorBoard {sorted(shown)}, in samples/ {sorted(written)}")
    problems += [f"{name} differs" for name in shown.keys() & written.keys() if shown[name] != written[name]]
    return problems, sum(map(len, recorded.values())), len(written)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    folders = sorted(path.parent for path in pathlib.Path(sys.argv[1]).rglob("curves.csv"))
    if not folders:
        print(f"no run is recorded below {sys.argv[1]}")
        return 1
    failed = False
    for folder in folders:
        problems, numbers, pictures = check(folder)
        failed |= bool(problems)
        print(f"{folder}: {numbers} numbers and {pictures} pictures", "DIFFER" if problems else "read back")
        for problem in problems:
            print(f"  {problem}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
