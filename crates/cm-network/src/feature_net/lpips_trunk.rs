//! The classifiers whose feature maps LPIPS compares, as torchvision builds them and the LPIPS package cuts them.

use super::lpips_options::LpipsTrunk;

/// A step of a trunk; the numbers are places in torchvision's `features`, widths are the published ones.
pub(super) enum Plan {
    Conv {
        index: usize,
        width: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    Pool {
        side: usize,
        round_up: bool,
    },
    /// A convolution of single pixels to `squeeze` channels, then two side by side to `expand` each.
    Fire {
        index: usize,
        squeeze: usize,
        expand: usize,
    },
    /// A map is compared here.
    Tap,
}

impl LpipsTrunk {
    /// A network's name for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Vgg16 => "VGG16",
            Self::AlexNet => "AlexNet",
            Self::SqueezeNet => "SqueezeNet 1.1",
        }
    }

    /// The smallest side of images that it can look at.
    pub fn min_side(self) -> usize {
        match self {
            Self::Vgg16 => 16,
            Self::AlexNet => 31,
            Self::SqueezeNet => 25,
        }
    }

    /// Where the LPIPS package cuts it: its slice k ends before the k-th of these places.
    pub(super) fn slices(self) -> &'static [usize] {
        match self {
            Self::Vgg16 => &[4, 9, 16, 23, 30],
            Self::AlexNet => &[2, 5, 8, 10, 12],
            Self::SqueezeNet => &[2, 5, 8, 10, 11, 12, 13],
        }
    }

    pub(super) fn plan(self) -> Vec<Plan> {
        let conv =
            |index, width, kernel, stride, padding| Plan::Conv { index, width, kernel, stride, padding };
        match self {
            Self::Vgg16 => {
                let stages: [(usize, &[usize]); 5] = [
                    (64, &[0, 2]),
                    (128, &[5, 7]),
                    (256, &[10, 12, 14]),
                    (512, &[17, 19, 21]),
                    (512, &[24, 26, 28]),
                ];
                let mut plan = Vec::new();
                for (stage, (width, indices)) in stages.into_iter().enumerate() {
                    if stage > 0 {
                        plan.push(Plan::Pool { side: 2, round_up: false });
                    }
                    plan.extend(indices.iter().map(|&index| conv(index, width, 3, 1, 1)));
                    plan.push(Plan::Tap);
                }
                plan
            }
            Self::AlexNet => {
                let pool = || Plan::Pool { side: 3, round_up: false };
                vec![
                    conv(0, 64, 11, 4, 2),
                    Plan::Tap,
                    pool(),
                    conv(3, 192, 5, 1, 2),
                    Plan::Tap,
                    pool(),
                    conv(6, 384, 3, 1, 1),
                    Plan::Tap,
                    conv(8, 256, 3, 1, 1),
                    Plan::Tap,
                    conv(10, 256, 3, 1, 1),
                    Plan::Tap,
                ]
            }
            Self::SqueezeNet => {
                let pool = || Plan::Pool { side: 3, round_up: true };
                let fire = |index, squeeze| Plan::Fire { index, squeeze, expand: 4 * squeeze };
                vec![
                    conv(0, 64, 3, 2, 0),
                    Plan::Tap,
                    pool(),
                    fire(3, 16),
                    fire(4, 16),
                    Plan::Tap,
                    pool(),
                    fire(6, 32),
                    fire(7, 32),
                    Plan::Tap,
                    pool(),
                    fire(9, 48),
                    Plan::Tap,
                    fire(10, 48),
                    Plan::Tap,
                    fire(11, 64),
                    Plan::Tap,
                    fire(12, 64),
                    Plan::Tap,
                ]
            }
        }
    }
}
