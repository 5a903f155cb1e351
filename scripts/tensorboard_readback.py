#!/usr/bin/env python3
"""Reads the event files of runs back with TensorBoard's own reader and compares them with what the runs recorded.

    pip install tensorboard
    python scripts/tensorboard_readback.py runs/smoke

For every folder below the given one that holds a curves.csv: each of its numbers must be found at its step (in single
precision, which is all that TensorBoard keeps), no step may have more numbers than were recorded, metrics.jsonl must
hold the same numbers, and each PNG in samples/ must be found byte for byte. Also true after a stop and a resumption.
Of a finished run, TensorBoard must list its hyper-parameters (those of the plan) and its scores (those of scores.csv), and
the histograms of the weights must count every weight of the model. Of the teacher of a finished study it must have scores.
Exits with 1 and a list of differences if not.
"""

import csv
import json
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata


def single(value: float) -> float:
    """The nearest number in single precision."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def scored_teacher(folder: pathlib.Path, events: EventAccumulator) -> list[str]:
    """What is wrong with the scores of a teacher of a finished study: some are shown, and all are in report.csv."""
    known: dict[str, set[float]] = {}
    with open(folder.parents[1] / "report.csv", newline="") as file:
        for row in csv.DictReader(file):
            tag = f"score/{row['model']}/{row['sampler']}/{row['metric']}"
            known.setdefault(tag, set()).add(single(float(row["value"])))
    shown = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if tag.startswith("score/")}
    if not any(tag.startswith("score/teacher/") for tag in shown):
        return ["no scores of the teacher in TensorBoard"]
    return [f"{tag} is not in report.csv" for tag, value in shown.items() if value not in known.get(tag, set())]


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
    scalars = [name for name in events.Tags()["scalars"] if not name.startswith("score/")]
    if sorted(scalars) != sorted(recorded):
        problems.append(f"TensorBoard has {sorted(scalars)}, curves.csv has {sorted(recorded)}")
    if (folder / "scores.csv").exists():
        problems += finished(folder, events)
    if folder.parent.name == "teachers" and (folder.parents[1] / "report.csv").exists():
        problems += scored_teacher(folder, events)

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


def finished(folder: pathlib.Path, events: EventAccumulator) -> list[str]:
    """What is wrong with the hyper-parameters, scores and histograms of a finished run."""
    problems = []
    with open(folder / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    student = [row for row in rows if row["model"] not in ("floor", "teacher")]
    scores = {f"score/{row['model']}/{row['sampler']}/{row['metric']}": float(row["value"]) for row in student}
    shown = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if tag.startswith("score/")}
    if shown.keys() != scores.keys():
        problems.append(f"scores in TensorBoard {sorted(shown)}, in scores.csv {sorted(scores)}")
    problems += [f"{tag} differs" for tag in shown.keys() & scores.keys() if not same(shown[tag], single(scores[tag]))]

    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    content = events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    if metadata.parse_session_end_info_plugin_data(content).status != 1:
        problems.append("the run does not count as finished in TensorBoard")
    plan = (folder / "plan.ron").read_text()
    if hparams["arm"].string_value != student[0]["arm"] or hparams["seed"].string_value != student[0]["seed"]:
        problems.append("arm or seed among the hyper-parameters differ")
    batch = hparams["consistency.train.batch"].number_value
    if f"batch: {batch:.0f}," not in plan or len(hparams) < 30:
        problems.append(f"hyper-parameters {sorted(hparams)} with a batch of {batch}")
    print(f"{folder}: {len(hparams)} hyper-parameters, {len(shown)} scores, ", end="")

    tags = [tag for tag in events.Tags()["histograms"] if tag.startswith("student/weights/")]
    counted = sum(events.Histograms(tag)[-1].histogram_value.num for tag in tags)
    size = int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
    header = json.loads((folder / "model.safetensors").read_bytes()[8 : 8 + size])
    arrays = [about for name, about in header.items() if name.startswith("average.0/")]
    weights = sum(math.prod(about["shape"]) for about in arrays)
    if counted != weights or len(tags) != len(arrays):
        problems.append(f"{len(tags)} histograms of {counted} weights, and the model has {weights} in {len(arrays)} arrays")
    print(f"{len(tags)} histograms")
    return problems


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
