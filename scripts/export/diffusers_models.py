"""Networks of diffusers with random weights, imported, and exported again: diffusers_models.py CM SCRATCH

Compares `cm denoise` with the pipeline that was imported and with the one that was exported; fails where a value is off
by more than 1e-4 of the range.
"""

import subprocess
import sys
from pathlib import Path

import numpy
import torch
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, UNet2DModel
from diffusers.utils import logging
from truth import denoised

ALLOWED = 1e-4
SCALE_SHIFT = {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 32}
IN_BLOCKS = {"downsample_type": "resnet", "upsample_type": "resnet"}
NETWORKS = {
    # As the converted ImageNet 64x64 models are, and as those of LSUN.
    "imagenet": {
        **SCALE_SHIFT,
        **IN_BLOCKS,
        "num_class_embeds": 10,
        "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    },
    "lsun": {
        **IN_BLOCKS,
        "down_block_types": ["ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"],
    },
    "convolutions": {
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    },
}


def one_step(pipe, noise, labels):
    """What a pipeline draws from noise in one evaluation, from -1 to 1."""
    pipe.set_progress_bar_config(disable=True)
    more = {} if labels is None else {"class_labels": torch.from_numpy(labels)}
    given = {"batch_size": len(noise), "num_inference_steps": 1, "latents": torch.from_numpy(noise)}
    return pipe(**given, **more, output_type="pt").images.numpy() * 2 - 1


def main():
    cm, scratch = sys.argv[1], Path(sys.argv[2])
    random, failed = numpy.random.default_rng(0), False
    logging.disable_progress_bar()
    for name, options in NETWORKS.items():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=16, layers_per_block=1, block_out_channels=[32, 64, 64], attention_head_dim=16, **options
        )
        levels = {"sigma_min": 0.01, "sigma_max": 20.0, "sigma_data": 0.6}
        pipe = ConsistencyModelPipeline(unet.eval(), CMStochasticIterativeScheduler(**levels))
        theirs, ours, back = scratch / name, scratch / f"{name}.safetensors", scratch / f"{name}-back"
        pipe.save_pretrained(theirs)
        subprocess.run([cm, "import", theirs, "--out", ours], check=True, stdout=subprocess.DEVNULL)
        export = [cm, "export", ours, "--format", "diffusers", "--out", back]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        exported, worst = ConsistencyModelPipeline.from_pretrained(back, low_cpu_mem_usage=False), [0.0, 0.0]
        for batch in (1, 7):
            noise = random.standard_normal((batch, 3, 16, 16)).astype(numpy.float32)
            labels = random.integers(0, 10, batch) if "num_class_embeds" in options else None
            highest = numpy.full(batch, levels["sigma_max"], numpy.float32)
            truth = denoised(cm, ours, scratch, noise * highest[:, None, None, None], highest, labels).clip(-1, 1)
            for index, other in enumerate((pipe, exported)):
                error = abs(one_step(other, noise, labels) - truth).max() / (truth.max() - truth.min())
                worst[index] = max(worst[index], float(error))
        failed |= not max(worst) <= ALLOWED
        print(f"{name} diffusers: largest difference {worst[0]:.1e} of the range imported, {worst[1]:.1e} exported")
    sys.exit(f"more than {ALLOWED}" if failed else 0)


main()
