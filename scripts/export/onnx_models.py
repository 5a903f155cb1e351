"""Compares exported ONNX models with `cm denoise`: onnx_models.py CM SCRATCH MODEL...

Fails where a value is off by more than 1e-4 of the range of the truth.
"""

import subprocess
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from truth import denoised

ALLOWED = 1e-4


def compared(cm, model, scratch, file, random):
    """The largest difference over the range, of batches of 1 and 7."""
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    for key in ("card", "plan_hash", "sigma_data", "levels", "licence"):
        assert said[key], f"{file} does not say its {key}"
    inputs = {value.name: value for value in session.get_inputs()}
    highest, worst = float(said["sigma_max"]), 0.0
    for batch in (1, 7):
        images = inputs.get("x", inputs.get("noise")).shape[1:]
        noise = random.standard_normal((batch, *images)).astype(numpy.float32)
        labels = None
        if "class" in inputs:
            classes = int(said["classes"])
            labels = random.integers(0, classes, batch)
        given = {} if labels is None else {"class": labels.astype(numpy.int64)}
        if file.stem == "generator":
            x, sigma = noise * numpy.float32(highest), numpy.full(batch, highest, numpy.float32)
            given["noise"] = noise
        else:
            low = numpy.log(max(float(said["sigma_min"]), 0.002))
            sigma = numpy.exp(random.uniform(low, numpy.log(highest), batch)).astype(numpy.float32)
            x = noise * sigma[:, None, None, None] + random.uniform(-1, 1, noise.shape).astype(numpy.float32)
            given |= {"x": x, "sigma": sigma}
        (found,) = session.run(None, given)
        truth = denoised(cm, model, scratch, x, sigma, labels)
        assert found.shape == truth.shape
        worst = max(worst, float(abs(found - truth).max() / (truth.max() - truth.min())))
    return worst


def main():
    cm, scratch, *models = sys.argv[1:]
    scratch, random, failed = Path(scratch), numpy.random.default_rng(0), False
    for model in models:
        name = Path(model).relative_to(scratch)
        out = scratch / f"onnx-{name}".replace("/", "-")
        subprocess.run([cm, "export", model, "--format", "onnx", "--out", out], check=True, stdout=subprocess.DEVNULL)
        for file in sorted(out.glob("*.onnx")):
            error = compared(cm, model, scratch, file, random)
            failed |= not error <= ALLOWED
            print(f"{name} {file.name}: largest difference {error:.1e} of the range")
    sys.exit(f"more than {ALLOWED}" if failed else 0)


main()
