#!/usr/bin/env python3
"""The first steps of torch.optim.RAdam, for crates/cm-training/src/optimiser.rs.

    python scripts/parity/radam.py > tests/fixtures/parity/radam.csv

Three numbers under gradients that change sign and size; the learning rate is large, so that an error in a step is an
error of the same order in the result. Double precision. With beta2 = 0.999 the sixth step is the first adaptive one.
The second half decays weights, decoupled.
"""

import torch

STEPS = 10
START = [1.0, -0.5, 0.25]


def gradient(step: int) -> list[float]:
    # Exact in binary, so that every reader starts from the same numbers.
    return [0.5 - 0.125 * (step % 5), 0.0625 * step, -1.0 if step % 2 else 0.75]


def main() -> None:
    print(f"# scripts/parity/radam.py, torch {torch.__version__.split('+')[0]}: lr 0.1, betas (0.9, 0.999), eps 1e-8")
    print("weight_decay,step,gradient 0,gradient 1,gradient 2,parameter 0,parameter 1,parameter 2")
    for weight_decay in [0.0, 0.125]:
        parameter = torch.tensor(START, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.RAdam(
            [parameter], lr=0.1, weight_decay=weight_decay, decoupled_weight_decay=True
        )
        for step in range(1, STEPS + 1):
            parameter.grad = torch.tensor(gradient(step), dtype=torch.float64)
            optimiser.step()
            row = [weight_decay, step, *gradient(step), *parameter.tolist()]
            print(",".join(repr(value) for value in row))


if __name__ == "__main__":
    main()
