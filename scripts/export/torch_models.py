"""Compares exported PyTorch modules with `cm denoise`: torch_models.py CM SCRATCH MODEL...

Fails where a value is off by more than 1e-5 of the range of the truth.
"""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy
import torch
from truth import denoised

ALLOWED = 1e-5


def loaded(folder):
    """The model of a folder, by the module in it."""
    spec = spec_from_file_location("model", folder / "model.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(folder)


def main():
    cm, scratch, *models = sys.argv[1:]
    scratch, random, failed = Path(scratch), numpy.random.default_rng(0), False
    for model in models:
        name = Path(model).relative_to(scratch)
        out = scratch / f"torch-{name}".replace("/", "-")
        subprocess.run([cm, "export", model, "--format", "torch", "--out", out], check=True, stdout=subprocess.DEVNULL)
        f, worst = loaded(out), 0.0
        label = f.embedding.label
        for batch in (1, 7):
            sigma = numpy.exp(random.uniform(numpy.log(0.05), numpy.log(f.sigma_max), batch)).astype(numpy.float32)
            x = random.standard_normal((batch, *f.shape)).astype(numpy.float32) * sigma[:, None, None, None]
            labels = None if label is None else random.integers(0, label.in_features, batch)
            with torch.no_grad():
                given = [torch.from_numpy(x), torch.from_numpy(sigma)]
                found = f(*given, *([] if labels is None else [torch.from_numpy(labels)])).numpy()
            truth = denoised(cm, model, scratch, x, sigma, labels)
            worst = max(worst, float(abs(found - truth).max() / (truth.max() - truth.min())))
        failed |= not worst <= ALLOWED
        print(f"{name} torch: largest difference {worst:.1e} of the range")
    sys.exit(f"more than {ALLOWED}" if failed else 0)


main()
