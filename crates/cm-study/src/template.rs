//! A study to start from: for data of a kind, with settings that were measured on data like them, and with the words of
//! the format above each field. Deliberately absent: writing it (the command line's).

use crate::explain::{Place, indented_comment, on_one_line};
use crate::notation::{from_ron, to_ron};
use crate::plan::is_file_name;
use crate::problem::{Problems, RequestErrors};
use crate::source_map::Node;
use cm_datasets::{DatasetConfig, Outline, PreparedConfig, SourceConfig, Split};
use cm_evaluator::{MetricConfig, MetricKind};
use cm_format::{Shape, Variant, first_sentence};
use std::path::Path;

/// The text of a study called `name` of `dataset`: `digits`, `gaussian-mixture`, `swiss-roll`, a folder that
/// `cm dataset prepare` wrote, a file or folder of images, or a dataset in RON.
///
/// # Errors
/// [`RequestErrors`] if the name is none for a file, or the data cannot be read.
pub fn template(name: &str, dataset: &str) -> Result<String, RequestErrors> {
    let mut problems = Problems::default();
    if !is_file_name(name) {
        problems.add("NAME", format!("`{name}` is no name of a study"), "letters, digits, `-`, `_` and `.`");
    }
    let found = data(dataset);
    let outlines = match &found {
        Ok(config) => {
            config.outline(Split::Train).and_then(|train| Ok((train, config.outline(Split::Test)?)))
        }
        Err(allowed) => {
            problems.add("--dataset", format!("there are no data `{dataset}`"), *allowed);
            return Err(problems.check().expect_err("one was added"));
        }
    };
    let text = match (&found, outlines) {
        (Ok(config), Ok((train, test))) => Some(annotated(&study(name, config, &train, &test))),
        (_, Err(error)) => {
            problems.add("--dataset", error.to_string(), "data that can be read: see `cm dataset inspect`");
            None
        }
        (Err(_), Ok(_)) => None,
    };
    problems.check()?;
    Ok(text.unwrap_or_default())
}

/// What data are meant, or what may be.
fn data(given: &str) -> Result<DatasetConfig, &'static str> {
    let named = match given {
        "digits" => "Digits()",
        "gaussian-mixture" => "GaussianMixture()",
        "swiss-roll" => "SwissRoll()",
        other => other,
    };
    if let Ok(config) = from_ron::<DatasetConfig>(named) {
        return Ok(config);
    }
    let path = Path::new(given);
    let prepared = PreparedConfig { path: path.to_owned(), ..PreparedConfig::default() };
    if path.is_dir() && prepared.build(Split::Train).is_ok() {
        return Ok(DatasetConfig::Prepared(prepared));
    }
    match path.exists() {
        true => Ok(DatasetConfig::Source(SourceConfig { path: path.to_owned(), ..SourceConfig::default() })),
        false => Err(
            "digits, gaussian-mixture, swiss-roll, a folder that `cm dataset prepare` wrote, a file or folder of \
             images, or a dataset in RON such as 'SwissRoll(noise: 0.05)'",
        ),
    }
}

/// The data as a study names them: what is no default.
fn named(config: &DatasetConfig) -> String {
    let path = |path: &Path| format!("{:?}", path.display().to_string());
    match config {
        DatasetConfig::Prepared(prepared) => format!("Prepared(path: {})", path(&prepared.path)),
        DatasetConfig::Source(source)
            if *source == (SourceConfig { path: source.path.clone(), ..SourceConfig::default() }) =>
        {
            format!("Source(path: {})", path(&source.path))
        }
        DatasetConfig::Digits(_) => "Digits()".to_owned(),
        DatasetConfig::GaussianMixture(mixture) if *mixture == Default::default() => {
            "GaussianMixture()".to_owned()
        }
        DatasetConfig::SwissRoll(roll) if *roll == Default::default() => "SwissRoll()".to_owned(),
        other => on_one_line(&to_ron(other)),
    }
}

/// What differs from kind to kind.
struct Kind {
    network: String,
    teacher: &'static str,
    consistency: &'static str,
    student: &'static str,
    evaluation: String,
    logging: &'static str,
}

fn study(name: &str, config: &DatasetConfig, train: &Outline, test: &Outline) -> String {
    let Kind { network, teacher, consistency, student, evaluation, logging } = match config.holds_pictures() {
        true => of_pictures(train, test),
        false => of_points(config, test),
    };
    let classes = config.has_classes();
    let conditional = if classes { "        class_conditional: true,\n" } else { "" };
    let what = if config.holds_pictures() { "images" } else { "points" };
    let mut about = format!(
        "// Data:    {}\n//          {} {what} of {} to train on, {} held out",
        named(config),
        train.len,
        train.shape,
        test.len
    );
    if let Some(classes) = train.classes.filter(|_| classes) {
        about += &format!(", in {classes} classes");
    }
    format!(
        "// {name}: written by `cm init`, to be changed.\n//\n{about}.\n//\n// Cost:    cm plan {name}.ron\n// Try:     cm run \
         {name}.ron --set shortened_by=100\n// Run:     cm run {name}.ron\n// Fields:  cm explain, cm explain \
         consistency.curriculum; what is left out has its default\n(\n    question: \"does one step draw what its teacher \
         draws in many?\",\n    seeds: [0],\n    base: (\n        dataset: {},\n{conditional}        network: {network},\n        \
         teacher: {teacher},\n        method: Distillation(solver: Heun),\n        consistency: (\n            train: (\n                \
         {student}\n            ),\n{consistency}        ),\n        evaluation: (\n{evaluation}        ),\n        logging: \
         ({logging}),\n    ),\n    arms: Star([\n        (name: \"cd\", changes: []),\n    ]),\n)\n",
        named(config),
    )
}

/// Networks and trainings of experiments/quickstart.ron, mnist.ron and emoji64.ron, whichever images are most alike.
fn of_pictures(train: &Outline, test: &Outline) -> Kind {
    let (height, width) = (train.shape.height, train.shape.width);
    let halves = |levels: u32| height.is_multiple_of(1 << levels) && width.is_multiple_of(1 << levels);
    let mut levels = 0;
    while levels < 3 && halves(levels + 1) && (height.min(width) >> levels) > if levels == 0 { 4 } else { 8 }
    {
        levels += 1;
    }
    let multipliers = match levels {
        0 => "[1]",
        1 => "[1, 2]",
        2 => "[1, 2, 2]",
        _ => "[1, 2, 4, 8]",
    };
    let lowest = height >> levels;
    let attention = if lowest <= 16 { format!("[{lowest}]") } else { "[]".to_owned() };
    let small = height.max(width) <= 8;
    let large = height.max(width) > 32;
    let channels = if small { 32 } else { 16 };
    let teacher = if small {
        "Trained(\n            train: (\n                total_images: 96_000,\n                batch: 128,\n                optimiser: Adam(),\n                learning_rate: (peak: 2e-3, warmup: Images(6_400), decay: Cosine),\n                ema: [HalfLife(Images(6_400))],\n            ),\n        )"
    } else if large {
        "Trained(\n            noise: LogNormal(mean: 0.3, std: 1.6),\n            train: (\n                total_images: 96_000,\n                batch: 16,\n                optimiser: Adam(),\n                learning_rate: (peak: 1.5e-3, warmup: Images(3_200), decay: Cosine),\n                ema: [HalfLife(Images(5_000))],\n            ),\n        )"
    } else {
        "Trained(\n            train: (\n                total_images: 150_000,\n                batch: 128,\n                optimiser: Adam(),\n                learning_rate: (peak: 2e-3, warmup: Images(12_800), decay: Cosine),\n                ema: [HalfLife(Images(12_800))],\n            ),\n        )"
    };
    let student = if small {
        "total_images: 36_000,\n                batch: 32,\n                optimiser: RAdam(),\n                learning_rate: (peak: 1e-3, decay: Cosine),\n                ema: [PerStep(0.99)],"
    } else {
        "total_images: 32_000,\n                batch: 32,\n                optimiser: RAdam(),\n                learning_rate: (peak: 7e-4, decay: Cosine),\n                ema: [PerStep(0.99)],"
    };
    let consistency = if large {
        "            curriculum: Fixed(num_levels: 12),\n            target: Ema(0.95),\n            distance: SquaredL2,\n            discretisation: (sigma_min: 0.02, sigma_max: 40),\n"
    } else {
        "            curriculum: Fixed(num_levels: 12),\n            target: Ema(0.95),\n            distance: SquaredL2,\n            discretisation: (sigma_min: 0.02, sigma_max: 20),\n"
    };
    let wanted: &[MetricKind] = match (train.classes.is_some(), train.shape.len() > 1024) {
        (true, _) => &[
            MetricKind::Frechet,
            MetricKind::FrechetExtrapolated,
            MetricKind::Recognised,
            MetricKind::Precision,
            MetricKind::Recall,
        ],
        // Values of an image are its features: of many, only distances are cheap.
        (false, true) => &[MetricKind::Kid, MetricKind::Precision, MetricKind::Recall],
        (false, false) => &[MetricKind::Frechet, MetricKind::Kid, MetricKind::Precision, MetricKind::Recall],
    };
    Kind {
        network: format!(
            "UNet(channels: {channels}, multipliers: {multipliers}, blocks: 1, attention: {attention}, embedding: Positional(scale: 4))"
        ),
        teacher,
        consistency,
        student,
        evaluation: of_metrics(wanted, test, "Multistep(times: [3])"),
        logging: "picture_images: 8_000, grid: 100",
    }
}

/// As experiments/gmm2.ron; a spiral has no exact teacher.
fn of_points(config: &DatasetConfig, test: &Outline) -> Kind {
    let mixture = matches!(config, DatasetConfig::GaussianMixture(_));
    let wanted: &[MetricKind] = match mixture {
        true => &[MetricKind::EndpointRmse, MetricKind::SlicedWasserstein, MetricKind::ModeWeights],
        false => &[MetricKind::SlicedWasserstein],
    };
    Kind {
        network: "Mlp(width: 128, blocks: 3, embedding: Positional(scale: 4))".to_owned(),
        teacher: match mixture {
            true => "Exact",
            false => {
                "Trained(\n            train: (\n                total_images: 1_024_000,\n                batch: 512,\n                optimiser: Adam(),\n                learning_rate: (peak: 2e-3, warmup: Images(51_200), decay: Cosine),\n                ema: [PerStep(0.99)],\n            ),\n        )"
            }
        },
        consistency: match mixture {
            true => {
                "            init: Random,\n            discretisation: (sigma_max: 20),\n            curriculum: Fixed(num_levels: 10),\n            target: Ema(0.9),\n            distance: SquaredL2,\n"
            }
            false => {
                "            discretisation: (sigma_max: 20),\n            curriculum: Fixed(num_levels: 10),\n            target: Ema(0.9),\n            distance: SquaredL2,\n"
            }
        },
        student: "total_images: 1_024_000,\n                batch: 512,\n                optimiser: Adam(),\n                learning_rate: (peak: 2e-3, warmup: Images(51_200), decay: Cosine),\n                ema: [PerStep(0.99)],",
        evaluation: of_metrics(wanted, test, "Multistep(times: [0.8])"),
        logging: "record_images: 20_480, checkpoint_images: 512_000",
    }
}

/// Those of the metrics for which there are enough images held out.
fn of_metrics(wanted: &[MetricKind], test: &Outline, second: &str) -> String {
    let fits = |kind: &&MetricKind| kind.min_images(&MetricConfig::default()) <= test.len;
    let names: Vec<String> = wanted.iter().filter(fits).map(|kind| format!("{kind:?}")).collect();
    format!(
        "            samples: 2_000,\n            teacher: (levels: 12),\n            student: [OneStep, {second}],\n            metrics: [{}],\n",
        names.join(", ")
    )
}

/// The text with the first sentence of each field's words above its line, and the choices there are.
fn annotated(text: &str) -> String {
    let Some(tree) = Node::scan(text) else { return text.to_owned() };
    let mut comments: Vec<(usize, String)> = Vec::new();
    collect(&tree, text, &Place::root(), &mut comments);
    comments.sort_by_key(|(at, _)| *at);
    let mut out = String::new();
    let mut from = 0;
    for (at, comment) in comments {
        out += &text[from..at];
        out += &comment;
        from = at;
    }
    out + &text[from..]
}

/// A comment for each field that begins a line, at the byte where the line begins.
fn collect(node: &Node, text: &str, place: &Place, comments: &mut Vec<(usize, String)>) {
    let name = node.name(text);
    let inside = if name.is_empty() { Some(place.clone()) } else { place.child(name) };
    let Some(inside) = inside else { return };
    for item in &node.items {
        let Some((key, span)) = &item.key else {
            collect(&item.value, text, &inside, comments);
            continue;
        };
        let Some(field) = inside.child(key) else { continue };
        let line = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        if text[line..span.start].trim().is_empty() {
            let mut words = first_sentence(field.doc()).to_owned();
            if let Some(Shape::Enum(choice)) = field.of_type().map(|of| of.shape) {
                let names: Vec<String> = choice.variants.iter().map(Variant::form).collect();
                if names.len() <= 8 {
                    words += &format!(" One of: {}.", names.join(", "));
                }
            }
            comments.push((line, indented_comment(&words, span.start - line)));
        }
        collect(&item.value, text, &field, comments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::check;

    #[test]
    fn every_kind_of_data_has_a_study_that_is_planned() {
        for data in ["digits", "gaussian-mixture", "swiss-roll", "SwissRoll(noise: 0.05)"] {
            let text = template("first", data).unwrap_or_else(|errors| panic!("{data}: {errors}"));
            let checked =
                check("first.ron".as_ref(), &text).unwrap_or_else(|errors| panic!("{data}\n{errors}"));
            assert!(checked.notes.is_empty(), "{data}: {:?}", checked.notes);
            // Every line of settings has its words.
            assert!(text.contains("// The network of teacher and student."), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
        }
    }

    #[test]
    fn networks_fit_images_of_any_size() {
        for (height, width) in [(4, 4), (8, 8), (9, 9), (28, 28), (30, 32), (64, 64), (100, 60)] {
            let folder = Outline {
                shape: cm_image::ImageShape { channels: 3, height, width },
                len: 100,
                classes: None,
            };
            let Kind { network, .. } = of_pictures(&folder, &folder);
            let network: cm_network::NetworkConfig = from_ron(&network).unwrap();
            let fits = network.outline(folder.shape, cm_network::Conditions::default());
            assert!(fits.is_ok(), "{height}x{width}: {:?}", fits.err());
        }
    }

    #[test]
    fn what_is_no_data_is_told() {
        let told = template("a/b", "digit").unwrap_err().to_string();
        assert!(
            told.contains("NAME: `a/b` is no name") && told.contains("there are no data `digit`"),
            "{told}"
        );
    }
}
