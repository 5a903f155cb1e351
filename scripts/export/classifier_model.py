"""Compares an exported classifier with its definition, written with numpy: classifier_model.py CM SCRATCH.

The weights are those of the file that the shipped classifier of digits is in. Fails where a value is off by more than 1e-4 of
the largest.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime

ALLOWED = 1e-4
WEIGHTS = Path(__file__).parents[2] / "crates/cm-evaluator/data/digits_classifier.safetensors"


def arrays(path):
    """The arrays of a safetensors file."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    values = {name: data[begin:][slice(*array["data_offsets"])] for name, array in header.items()}
    return {name: numpy.frombuffer(values[name], "<f4").reshape(header[name]["shape"]) for name in header}


def convolved(x, weight, bias, stride):
    """3x3 with a margin of zeros; x is N, H, W, C and the weight 3, 3, in, out."""
    padded = numpy.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    taps = [(r, c) for r in range(3) for c in range(3)]
    sums = sum(padded[:, r : r + height, c : c + width] @ weight[r, c] for r, c in taps)
    return sums[:, ::stride, ::stride] + bias


def classified(w, x):
    """Logits and features of images N, H, W, C."""
    layers = sum(name.startswith("conv") and name.endswith("weight") for name in w)
    for i in range(layers):
        x = numpy.maximum(convolved(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], 1 if i == 0 else 2), 0)
    features = x.mean((1, 2))
    return features @ w["output.weight"] + w["output.bias"], features


def main():
    cm, scratch = sys.argv[1], Path(sys.argv[2])
    out = scratch / "onnx-classifier"
    subprocess.run([cm, "export", "classifier", "--format", "onnx", "--out", out], check=True, stdout=subprocess.DEVNULL)
    file = str(out / "classifier.onnx")
    onnx.checker.check_model(file, full_check=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    w = {name: values.astype(numpy.float64) for name, values in arrays(WEIGHTS).items()}
    worst = 0.0
    for batch in (1, 7):
        images = numpy.random.default_rng(batch).uniform(-1, 1, (batch, 8, 8, 1)).astype(numpy.float32)
        found = session.run(None, {"image": images.transpose(0, 3, 1, 2)})
        for found, truth in zip(found, classified(w, images)):
            assert found.shape == truth.shape
            worst = max(worst, float(abs(found - truth).max() / abs(truth).max()))
    print(f"classifier classifier.onnx: largest difference {worst:.1e} of the largest value")
    sys.exit(not worst <= ALLOWED)


if __name__ == "__main__":
    main()
