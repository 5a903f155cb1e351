//! cuDNN's plans for the convolutions of real networks on a GPU that is described by its properties, without one:
//! `cudnn_plans PROPERTIES.json`. A line for each product: how many plans can be used, how long they took to make, and the
//! first with its workspace. Exit code 1 if a product in bf16 or tf32 has none, or a plan made again from its text is another;
//! in single precision there need not be one, since most engines multiply by matrix instructions, which round to tf32.

#![expect(clippy::print_stdout, reason = "lines are what it is for")]

use cm_gpu::conv2d::{Conv2dShape, Precision, Product, Way};
use cm_gpu::cudnn_plans;
use std::process::ExitCode;
use std::time::Instant;

/// Convolutions of DDPM++ on 32x32 images and of ADM on 64x64, and one that halves an image.
fn shapes() -> Vec<Conv2dShape> {
    let square = |batch, size, [in_channels, out_channels]: [usize; 2], stride| Conv2dShape {
        batch,
        height: size,
        width: size,
        in_channels,
        out_channels,
        kernel: [3; 2],
        stride,
        padding: [1; 2],
    };
    vec![
        square(256, 32, [128, 128], 1),
        square(256, 16, [256, 256], 1),
        square(256, 8, [512, 256], 1),
        square(32, 64, [192, 192], 1),
        square(32, 8, [768, 768], 1),
        square(64, 32, [128, 128], 2),
    ]
}

fn main() -> ExitCode {
    let properties = std::env::args().nth(1).map(std::fs::read_to_string);
    let Some(Ok(properties)) = properties else {
        println!("usage: cudnn_plans PROPERTIES.json");
        return ExitCode::from(2);
    };
    let mut missing = 0;
    for shape in shapes() {
        for precision in [Precision::Bf16, Precision::Tf32, Precision::F32] {
            for way in [Way::Forward, Way::BackwardData, Way::BackwardWeight] {
                let product = Product { way, precision, shape, finished: false };
                let begin = Instant::now();
                let found = cudnn_plans(properties.trim(), &product);
                let seconds = begin.elapsed().as_secs_f64();
                let told = match found {
                    Ok(plans) => {
                        missing += plans.iter().filter(|(_, [proposed, again])| proposed != again).count();
                        let (first, [workspace, _]) = &plans[0];
                        format!("{} plans in {seconds:.2} s, first {first}, {workspace} B", plans.len())
                    }
                    Err(error) => {
                        missing += usize::from(precision != Precision::F32);
                        format!("none: {error}")
                    }
                };
                println!("{product}: {told}");
            }
        }
    }
    if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
