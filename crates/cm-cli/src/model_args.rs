//! What can be typed to use a trained model: `cm sample` and `cm edit`.

use clap::{Subcommand, ValueEnum};
use cm_image::Quantisation;
use cm_workbench::{ClassRequest, EditRequest, EditTask, Evaluations, Guidance, ModelRequest, SampleRequest};
use std::path::{Path, PathBuf};

/// Arguments of `cm sample`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SampleArgs {
    /// The folder of a finished run, or of a trained teacher (in `teachers` of its study), or the model.safetensors in it.
    /// Of several a sheet is drawn: a row for each, from the same seeds and classes.
    #[arg(required_unless_present = "weights")]
    model: Vec<PathBuf>,
    /// Instead of a run: a file that `cm import` wrote.
    #[arg(long, conflicts_with = "model")]
    weights: Option<PathBuf>,
    /// Draw from the trained teacher of this run instead, as its study scores it.
    #[arg(long, requires = "model")]
    teacher: bool,
    /// Where results go: `grid.png`, a sheet of up to a hundred images, and `samples.npz`. Of several models `sheet.png`,
    /// and `sheet.json`, which says what its rows and columns are.
    #[arg(long)]
    out: PathBuf,
    /// How many images; of each, where there are several models. Without it 64, of each of several 16.
    #[arg(long)]
    count: Option<usize>,
    /// Each image has a seed of its own, made from this one and its number; it does not depend on the batch. Without it,
    /// the images are those that the run's scores are of, of several models the first one's; of a file of weights, those of
    /// seed 0.
    #[arg(long)]
    seed: Option<u64>,
    /// How values become 8-bit pixels. Without it, as the run's study says (by which its scores were made); for a file of
    /// weights, rounded.
    #[arg(long, value_enum)]
    quantisation: Option<Rule>,
    /// Evaluate the model so many times, at noise levels of its own spacing; without it, once. A model that jumps from
    /// level to level knows only some numbers. A diffusion model is led from level to level of so many: without it, a
    /// teacher as in its study, and a file by Heun's method along 18 and to 0, which are 35 evaluations.
    #[arg(long, conflicts_with = "times")]
    steps: Option<usize>,
    /// Evaluate it once at its highest noise level, and once at each of these: falling, separated by commas.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    times: Option<Vec<f32>>,
    /// Clamp images to [-1, 1] before they are noised again.
    #[arg(long)]
    clip: bool,
    /// Images at a time; it decides the memory and not the images. Without it 256, and fewer of large images.
    #[arg(long)]
    batch: Option<usize>,
    /// Also write each image as a PNG file of its own, into the folder `images` there, which must be new.
    #[arg(long)]
    images: bool,
    /// The class of all images, by its number or its name in the data set. Without it, each image's class is drawn from
    /// its seed, if the model knows classes.
    #[arg(long)]
    class: Option<ClassRequest>,
    /// The weight of guidance of a diffusion model that knows classes and what to do without one: 1 is none. Without it,
    /// as the teacher's study says; a file of weights is not guided.
    #[arg(long, value_name = "WEIGHT", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Guide only above the first of these noise levels and up to the second.
    #[arg(
        long,
        value_name = "ABOVE,UP_TO",
        value_delimiter = ',',
        requires = "guidance",
        allow_negative_numbers = true
    )]
    guidance_levels: Option<Vec<f32>>,
    /// The average of the weights, as the run's table names it; without it, the first.
    #[arg(long)]
    ema: Option<String>,
}

/// The names of [`Quantisation`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rule {
    /// To the nearest level.
    Round,
    /// Cut off, as the original code does.
    Truncate,
}

impl From<Rule> for Quantisation {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::Round => Self::Round,
            Rule::Truncate => Self::Truncate,
        }
    }
}

impl SampleArgs {
    /// Where results go.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// What is drawn of each model.
    pub(crate) fn requests(self) -> Vec<SampleRequest> {
        let models: Vec<PathBuf> = self.model.iter().chain(&self.weights).cloned().collect();
        let count = self.count.unwrap_or(if models.len() > 1 { 16 } else { 64 });
        models.into_iter().map(|path| self.clone().request(path, count)).collect()
    }

    fn request(self, path: PathBuf, count: usize) -> SampleRequest {
        let args = self;
        SampleRequest {
            model: ModelRequest { path, ema: args.ema, class: args.class },
            teacher: args.teacher,
            out: args.out,
            count,
            seed: args.seed,
            quantisation: args.quantisation.map(Quantisation::from),
            evaluations: match (args.times, args.steps) {
                (Some(times), _) => Evaluations::Times(times),
                (None, Some(steps)) => Evaluations::Steps(steps),
                (None, None) => Evaluations::Usual,
            },
            guidance: args.guidance.map(|weight| match args.guidance_levels.as_deref() {
                None => Guidance { weight, ..Guidance::default() },
                Some([above, up_to]) => Guidance { weight, above: *above, up_to: *up_to },
                // Refused when it is checked, with what is allowed.
                Some(_) => Guidance { weight, above: f32::NAN, up_to: f32::NAN },
            }),
            clip: args.clip,
            batch: args.batch,
            single_files: args.images,
        }
    }
}

/// What every task of `cm edit` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EditArgs {
    /// The folder of a finished run, the model.safetensors in it, or a file that `cm import` wrote.
    #[arg(long)]
    model: PathBuf,
    /// Where results go: `edited.png`, and `before-after.png`, enlarged.
    #[arg(long)]
    out: PathBuf,
    /// The class of the image, by its number or its name in the data set. A model that knows classes must be told.
    #[arg(long)]
    class: Option<ClassRequest>,
    /// The average of the weights, as the run's table names it; without it, the first.
    #[arg(long)]
    ema: Option<String>,
}

/// How a task that noises and evaluates repeatedly does so.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoopArgs {
    /// The noise levels, falling, separated by commas, within the model's range. Without it, 40 levels of the model's
    /// own spacing; for strokes and between images, 5.38 and 2.24; between seeds, the highest.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    times: Option<Vec<f32>>,
    /// Clamp what the model gives to [-1, 1] each time.
    #[arg(long, value_enum, default_value_t = Clip::Yes)]
    clip: Clip,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clip {
    Yes,
    No,
}

/// The image that is edited.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// A PNG of the size of the model's images; colour and grey are turned into what the model has.
    #[arg(long)]
    image: PathBuf,
}

/// The seed of the noise.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct SeedArgs {
    /// The noise is that of the first image of `cm sample` with this seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// What to make of an image.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Edit {
    /// Fill in what is missing of an image; the rest is kept to the bit.
    #[command(
        after_help = "Example:\n  cm edit inpaint --model runs/quickstart/cd/seed-0 --class 3 --image three.png --mask upper-half.png --out edited"
    )]
    Inpaint {
        #[command(flatten)]
        edit: EditArgs,
        #[command(flatten)]
        image: ImageArgs,
        /// A PNG of the same size: white where the image is known, black where it is to be filled in.
        #[arg(long)]
        mask: PathBuf,
        #[command(flatten)]
        seed: SeedArgs,
        #[command(flatten)]
        how: LoopArgs,
    },
    /// Give a grey image colours; its luminance is kept. Only for models of colour images.
    #[command(
        alias = "colourise",
        after_help = "Example:\n  cm edit colorize --model runs/faces/cd/seed-0 --image grey.png --out edited"
    )]
    Colorize {
        #[command(flatten)]
        edit: EditArgs,
        #[command(flatten)]
        image: ImageArgs,
        #[command(flatten)]
        seed: SeedArgs,
        #[command(flatten)]
        how: LoopArgs,
    },
    /// Make an image larger; the means of its blocks are kept.
    #[command(
        after_help = "Example:\n  cm edit super-resolve --model runs/quickstart/cd/seed-0 --class 3 --image small.png --factor 2 --out edited"
    )]
    SuperResolve {
        #[command(flatten)]
        edit: EditArgs,
        /// The small PNG: the size of the model's images divided by the factor. Or one of their size, which is reduced
        /// to the means of its blocks first.
        #[arg(long)]
        image: PathBuf,
        /// By how much height and width grow; it must divide those of the model's images.
        #[arg(long)]
        factor: usize,
        #[command(flatten)]
        seed: SeedArgs,
        #[command(flatten)]
        how: LoopArgs,
    },
    /// Turn a rough painting into an image (SDEdit).
    #[command(
        after_help = "Example:\n  cm edit stroke --model runs/quickstart/cd/seed-0 --class 3 --image painting.png --start-sigma 1 --out edited"
    )]
    Stroke {
        #[command(flatten)]
        edit: EditArgs,
        #[command(flatten)]
        image: ImageArgs,
        /// The first noise level; the second is 0.416 of it, as with the paper's 5.38 and 2.24. The more noise, the less
        /// is left of the painting.
        #[arg(long, conflicts_with = "times", allow_negative_numbers = true)]
        start_sigma: Option<f32>,
        #[command(flatten)]
        seed: SeedArgs,
        #[command(flatten)]
        how: LoopArgs,
    },
    /// Draw the images between two seeds, or between two images.
    #[command(
        after_help = "Example:\n  cm edit interpolate --model runs/quickstart/cd/seed-0 --class 3 --from-seed 1 --to-seed 2 --steps 8 --out path"
    )]
    Interpolate {
        #[command(flatten)]
        edit: EditArgs,
        /// The path begins with the first image of `cm sample` with this seed.
        #[arg(long, default_value_t = 0)]
        from_seed: u64,
        /// And ends with that of this one.
        #[arg(long, default_value_t = 1)]
        to_seed: u64,
        /// The path leads from this PNG, noised with the noise of the first seed,
        #[arg(long, requires = "to_image")]
        from_image: Option<PathBuf>,
        /// to this one, noised with that of the second.
        #[arg(long, requires = "from_image")]
        to_image: Option<PathBuf>,
        /// How many images, with both ends.
        #[arg(long, default_value_t = 8)]
        steps: usize,
        #[command(flatten)]
        how: LoopArgs,
    },
    /// Take noise of a known level from an image, in one evaluation.
    #[command(
        after_help = "Example:\n  cm edit denoise --model runs/quickstart/cd/seed-0 --class 3 --image noisy.png --sigma 0.3 --out edited"
    )]
    Denoise {
        #[command(flatten)]
        edit: EditArgs,
        #[command(flatten)]
        image: ImageArgs,
        /// The noise's standard deviation, where black is -1 and white is 1.
        #[arg(long, allow_negative_numbers = true)]
        sigma: f32,
        /// The image has no noise yet: add some of this level first.
        #[arg(long)]
        add_noise: bool,
        #[command(flatten)]
        seed: SeedArgs,
    },
}

impl From<Edit> for EditRequest {
    fn from(edit: Edit) -> Self {
        let looped = |edit: EditArgs, SeedArgs { seed }, LoopArgs { times, clip }, task| Self {
            model: ModelRequest { path: edit.model, ema: edit.ema, class: edit.class },
            out: edit.out,
            seed,
            times,
            clip: clip == Clip::Yes,
            task,
        };
        match edit {
            Edit::Inpaint { edit, image: ImageArgs { image }, mask, seed, how } => {
                looped(edit, seed, how, EditTask::Inpaint { image, mask })
            }
            Edit::Colorize { edit, image: ImageArgs { image }, seed, how } => {
                looped(edit, seed, how, EditTask::Colourise { image })
            }
            Edit::SuperResolve { edit, image, factor, seed, how } => {
                looped(edit, seed, how, EditTask::SuperResolve { image, factor })
            }
            Edit::Stroke { edit, image: ImageArgs { image }, start_sigma, seed, how } => {
                looped(edit, seed, how, EditTask::Stroke { image, start_sigma })
            }
            Edit::Interpolate { edit, from_seed, to_seed, from_image, to_image, steps, how } => {
                let task = EditTask::Interpolate {
                    seeds: (from_seed, to_seed),
                    images: from_image.zip(to_image),
                    steps,
                };
                looped(edit, SeedArgs { seed: from_seed }, how, task)
            }
            Edit::Denoise { edit, image: ImageArgs { image }, sigma, add_noise, seed } => {
                let once = LoopArgs { times: None, clip: Clip::No };
                looped(edit, seed, once, EditTask::Denoise { image, sigma, add_noise })
            }
        }
    }
}
