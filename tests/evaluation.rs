//! `cm evaluate`, `cm stats` and `cm lpips` from outside. What needs no weights of other programs is shown on the digits;
//! the networks are compared with PyTorch's in `cm-network`.

use crate::editing::write_grey;
use crate::util::expect;
use cm_scoring::ImageSource;
use std::fs;
use std::path::Path;

/// The values of a card by their names.
fn values(folder: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(folder.join("evaluation.json")).unwrap()).unwrap()
}

fn value(card: &serde_json::Value, metric: &str) -> f64 {
    let metrics = card["metrics"].as_array().unwrap();
    metrics.iter().find(|m| m["metric"] == metric).unwrap()["value"].as_f64().unwrap()
}

const HELD_OUT: [&str; 7] = [
    "evaluate",
    "--samples",
    "dataset:Digits()@test",
    "--reference",
    "dataset:Digits()",
    "--features",
    "classifier",
];

#[test]
fn held_out_digits_have_the_floor_of_every_study_and_their_card_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (told, _) = expect(at, &[&HELD_OUT[..], &["--out", "card"]].concat(), 0);
    let card = values(&at.join("card"));
    // The row "floor" of the quickstart's table.
    for (metric, floor, half) in
        [("frechet", 0.9595, 5e-5), ("precision", 0.9091, 5e-5), ("recall", 0.9193, 5e-5)]
    {
        assert!((value(&card, metric) - floor).abs() <= half, "{metric}: {card}");
    }
    for metric in ["class-score", "kid", "density", "coverage"] {
        assert!(value(&card, metric).is_finite(), "{metric}");
    }
    assert!(!told.contains("| fid |") && !told.contains("| sfid |"), "{told}");
    for part in [
        "* samples: dataset:Digits()@test, 297 images of 8x8x1",
        "* reference: dataset:Digits(), 1500 images",
        "not the published Inception weights",
        "* k of precision and recall: 3",
        "* split of the class score: 5000 images",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert_eq!(fs::read_to_string(at.join("card/evaluation.md")).unwrap(), told);
    let csv = fs::read(at.join("card/evaluation.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(csv.as_slice());
    assert_eq!(rows.records().map(Result::unwrap).count(), card["metrics"].as_array().unwrap().len());
}

#[test]
fn statistics_stand_for_the_images_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let stats = ["stats", "dataset:Digits()", "--features", "classifier", "--out", "digits.npz"];
    let (told, _) = expect(at, &stats, 0);
    assert_eq!(told, "digits.npz\n");
    let against = |reference: &str, out: &str, more: &[&str], code| {
        let mut arguments = HELD_OUT.to_vec();
        arguments[4] = reference;
        expect(at, &[&arguments[..], more, &["--out", out]].concat(), code)
    };
    against("digits.npz", "a", &[], 0);
    against("dataset:Digits()", "b", &["--batch", "7", "--cache", "kept"], 0);
    // The second time nothing passes through the network, and every number is the same.
    let (_, progress) = against("dataset:Digits()", "again", &["--batch", "9", "--cache", "kept"], 0);
    assert!(progress.contains("1500 images of the reference were passed through before"), "{progress}");
    assert_eq!(values(&at.join("again")), values(&at.join("b")));
    let (a, b) = (values(&at.join("a")), values(&at.join("b")));
    assert_eq!(value(&a, "frechet"), value(&b, "frechet"));
    assert_eq!(a["reference"]["images"], 1500);
    // Without images there is no precision: left out if all is wanted, refused if it is asked for.
    assert!(a["metrics"].as_array().unwrap().iter().all(|metric| metric["metric"] != "precision"));
    let (_, told) = against("digits.npz", "c", &["--metrics", "frechet,precision"], 2);
    assert!(told.contains("precision: the reference is a file of statistics without images"), "{told}");
    // Statistics by other features are noticed.
    let pixels = ["stats", "dataset:Digits()", "--features", "pixels", "--out", "pixels.npz"];
    expect(at, &pixels, 0);
    let (_, told) = against("pixels.npz", "d", &[], 2);
    assert!(told.contains("the pixels, 8x8x1 are compared with the shipped classifier"), "{told}");
    assert!(!at.join("c").exists() && !at.join("d").exists());
}

/// The values of a card, exactly: serde_json's numbers may be off by a last digit.
fn exact_value(folder: &Path, metric: &str) -> f64 {
    let text = fs::read(folder.join("evaluation.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let row = reader.records().map(Result::unwrap).find(|row| &row[0] == metric).unwrap();
    row[1].parse().unwrap()
}

/// The numbers of a run's `scores.csv` or a study's `report.csv`: (model, sampler, metric without its count, value).
fn table(file: &Path) -> Vec<(String, String, String, f64)> {
    let text = fs::read(file).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let row = |row: csv::StringRecord| {
        let metric = row[5].strip_suffix(&format!("-{}", &row[7])).unwrap().to_owned();
        (row[2].to_owned(), row[3].to_owned(), metric, row[6].parse().unwrap())
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// The same images drawn by `cm sample` and scored by `cm evaluate` had other scores than the study's table: it judged
/// values that were not clamped and not of 8 bits.
#[test]
fn the_score_of_a_study_was_not_that_of_the_images_one_gets() {
    let study = |rule: &str| {
        format!(
            "(base: (
                dataset: Digits(),
                network: UNet(channels: 8, multipliers: [1, 2], blocks: 1, attention: [4]),
                teacher: None,
                method: Training,
                consistency: (
                    train: (total_images: 640, batch: 32, ema: [PerStep(0.9), PerStep(0.5)]),
                    init: Random,
                    curriculum: Fixed(num_levels: 6),
                ),
                evaluation: (
                    samples: 70,
                    student: [OneStep, Multistep(times: [3.0, 0.8])],
                    quantisation: {rule},
                    metrics: [Recognised, ClassHistogram, Frechet, Kid, Precision, Recall, Density, Coverage, Copied],
                ),
            ))"
        )
    };
    let mut by_rule = Vec::new();
    for rule in ["Round", "Truncate"] {
        let folder = crate::util::scratch(&study(rule));
        let at = folder.path();
        expect(at, &["run", "study.ron"], 0);
        let rows = table(&at.join("runs/study/base/seed-0/scores.csv"));
        for sheet in ["one-step", "multistep-3-0.8"] {
            let sheet = format!("runs/study/base/seed-0/samples/copies-{sheet}-00000020.png");
            assert!(at.join(&sheet).is_file(), "{sheet}");
        }
        for (model, ema) in [("student-ema-0.9", "ema-0.9"), ("student-ema-0.5", "ema-0.5")] {
            for (sampler, times) in [("one-step", &[][..]), ("multistep-3-0.8", &["--times", "3,0.8"])] {
                let drawn = format!("{sampler}-{ema}");
                let sample =
                    ["sample", "runs/study/base/seed-0", "--count", "70", "--ema", ema, "--out", &drawn];
                expect(at, &[&sample[..], times].concat(), 0);
                let mut evaluate = HELD_OUT;
                let samples = format!("{drawn}/samples.npz");
                evaluate[2] = &samples;
                expect(at, &[&evaluate[..], &["--out", &drawn]].concat(), 0);
                let card = values(&at.join(&drawn));
                assert_eq!(card["samples"]["drawn"]["sampler"], sampler);
                let of_run: Vec<_> =
                    rows.iter().filter(|(m, s, ..)| (m.as_str(), s.as_str()) == (model, sampler)).collect();
                assert_eq!(of_run.len(), 9);
                for (_, _, metric, expected) in of_run {
                    assert_eq!(exact_value(&at.join(&drawn), metric), *expected, "{rule} {drawn} {metric}");
                }
            }
        }
        by_rule.push(rows);
    }
    let frechet = |rows: &[(String, String, String, f64)]| {
        rows.iter().find(|(model, _, metric, _)| model != "floor" && metric == "frechet").unwrap().3
    };
    assert_ne!(frechet(&by_rule[0]), frechet(&by_rule[1]), "the rule decides");
}

/// A teacher is drawn from as its study draws and scores it, guidance included; and otherwise where it is asked for.
#[test]
fn a_teacher_s_images_have_the_scores_of_its_study() {
    let study = "(base: (
        dataset: Digits(),
        class_conditional: true,
        network: UNet(channels: 8, multipliers: [1, 2], blocks: 1, attention: [4]),
        teacher: Trained(
            train: (total_images: 640, batch: 32, ema: [PerStep(0.9), None]),
            label_dropout: 0.2,
        ),
        guidance: (weight: 3, above: 0.1, up_to: 10),
        method: Distillation(solver: Heun),
        consistency: (train: (total_images: 64, batch: 32), curriculum: Fixed(num_levels: 6)),
        evaluation: (
            samples: 70,
            student: [OneStep],
            teacher: (levels: 4, method: DpmSolverPlusPlus()),
            metrics: [Recognised, Frechet, Precision],
        ),
    ))";
    let folder = crate::util::scratch(study);
    let at = folder.path();
    expect(at, &["run", "study.ron"], 0);
    let teachers = at.join("runs/study/teachers");
    let teacher = fs::read_dir(&teachers).unwrap().next().unwrap().unwrap().path().display().to_string();
    let draw = |more: &[&str], out: &str| {
        expect(at, &[&["sample", &teacher, "--count", "70", "--out", out], more].concat(), 0);
        let mut evaluate = HELD_OUT;
        let samples = format!("{out}/samples.npz");
        evaluate[2] = &samples;
        expect(at, &[&evaluate[..], &["--out", out]].concat(), 0);
        values(&at.join(out))["samples"]["drawn"].clone()
    };
    let card = draw(&[], "drawn");
    assert_eq!(card["sampler"], "dpm-solver++-4");
    assert!(card["model"].as_str().unwrap().ends_with("guided by 3 at levels above 0.1 up to 10"), "{card}");
    let rows = table(&at.join("runs/study/report.csv"));
    let of_teacher: Vec<_> = rows.iter().filter(|(model, ..)| model == "teacher").collect();
    assert_eq!(of_teacher.len(), 3);
    for (_, _, metric, expected) in of_teacher {
        assert_eq!(exact_value(&at.join("drawn"), metric), *expected, "{metric}");
    }
    let plain = draw(&["--guidance", "1"], "plain");
    assert!(plain["model"].as_str().unwrap().ends_with("weights ema-0.9"), "{plain}");
    draw(&["--guidance", "3", "--guidance-levels", "0.1,10"], "asked");
    draw(&["--ema", "raw"], "raw");
    expect(at, &["sample", "runs/study/base/seed-0", "--teacher", "--count", "70", "--out", "of-run"], 0);
    let pixels = |out: &str| fs::read(at.join(out).join("grid.png")).unwrap();
    assert_eq!(pixels("drawn"), pixels("asked"));
    assert_eq!(pixels("drawn"), pixels("of-run"));
    assert!(pixels("drawn") != pixels("plain") && pixels("drawn") != pixels("raw"));
    // Names of classes are those of the data set.
    let one = |model: &str, more: &[&str], code| {
        let arguments = ["sample", model, "--count", "2", "--out", "one"];
        expect(at, &[&arguments[..], more].concat(), code).1
    };
    one(&teacher, &["--class", "7"], 0);
    let told = one(&teacher, &["--class", "seven", "--guidance", "-1", "--steps", "1"], 2);
    for part in ["no class `seven`", "allowed: 0 to 9\n", "--guidance", "2 to 1000 levels"] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let told = one("runs/study/base/seed-0", &["--guidance", "2"], 2);
    assert!(told.contains("no diffusion model"), "{told}");
}

/// The whole way from a checkpoint to its scores, against pytorch-fid, torch-fidelity, prdc and torchmetrics
/// (`scripts/parity/evaluator.py`).
#[test]
fn a_thousand_images_of_a_checkpoint_have_the_scores_that_independent_programs_give_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let fixture =
        |name: &str| crate::util::root().join("tests/fixtures/parity").join(name).display().to_string();
    let (model, samples) = (fixture("evaluator.safetensors"), fixture("evaluator-samples.npz"));
    expect(at, &["sample", &model, "--count", "1000", "--out", "drawn"], 0);

    // Another instruction set may decide otherwise where a value is half-way between two levels.
    let pixels = |path: &str| {
        let mut images = ImageSource::parse(path).unwrap().open(None).unwrap();
        images.next_batch(1000).unwrap().unwrap().values().to_vec()
    };
    let (drawn, expected) = (pixels(&at.join("drawn/samples.npz").display().to_string()), pixels(&samples));
    assert_eq!(drawn.len(), expected.len());
    let steps: Vec<f32> = drawn.iter().zip(&expected).map(|(a, b)| (a - b).abs() * 127.5).collect();
    assert!(steps.iter().all(|&step| step < 1.01), "a pixel is more than one level off");
    let others = steps.iter().filter(|&&step| step > 0.5).count();
    assert!(others <= drawn.len() / 1000, "{others} pixels are others");

    let reference = fixture("evaluator-reference.npz");
    let score = |samples: &str, out: &str| {
        let arguments = ["evaluate", "--samples", samples, "--reference", &reference];
        expect(at, &[&arguments[..], &["--features", "classifier", "--out", out]].concat(), 0);
        at.join(out)
    };
    let cards = [(score(&samples, "theirs"), 1e-6), (score("drawn/samples.npz", "ours"), 1e-2)];
    let text = fs::read(fixture("evaluator.csv")).unwrap();
    let mut metrics = 0;
    for row in csv::Reader::from_reader(text.as_slice()).records().map(Result::unwrap) {
        let number = |index: usize| row[index].parse::<f64>().unwrap();
        let (value, spread) = (number(1), number(2));
        for (card, tolerance) in &cards {
            let found = exact_value(card, &row[0]);
            assert!((found - value).abs() <= spread + tolerance * value, "{}: {found} for {value}", &row[0]);
        }
        metrics += 1;
    }
    let told = fs::read_to_string(cards[0].0.join("evaluation.csv")).unwrap();
    assert_eq!(told.lines().count(), 1 + metrics, "every metric has its number");
}

#[test]
fn points_are_delivered_as_they_are() {
    let folder = crate::util::scratch(
        &crate::util::ring(256, "").replace("metrics: [", "metrics: [Frechet, Recall, "),
    );
    let at = folder.path();
    expect(at, &["run", "study.ron"], 0);
    expect(at, &["sample", "runs/study/base/seed-0", "--count", "64", "--out", "drawn"], 0);
    let data = "dataset:GaussianMixture(train_len: 256, test_len: 128)";
    let evaluate =
        ["evaluate", "--samples", "drawn/samples.npz", "--reference", data, "--features", "pixels"];
    let (told, _) = expect(at, &[&evaluate[..], &["--out", "card"]].concat(), 0);
    assert!(told.contains("* quantisation of samples: none: points"), "{told}");
    let rows = table(&at.join("runs/study/base/seed-0/scores.csv"));
    for metric in ["frechet", "recall"] {
        let of_run = rows.iter().find(|(model, _, name, _)| model.starts_with("student") && name == metric);
        assert_eq!(exact_value(&at.join("card"), metric), of_run.unwrap().3, "{metric}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_wrong_input() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("empty")).unwrap();
    fs::write(at.join("broken.npz"), b"PK\x03\x04").unwrap();
    fs::write(at.join("weights.safetensors"), b"{}").unwrap();
    let evaluate = |samples: &str, reference: &str, features: &str, more: &[&str]| {
        let arguments = ["evaluate", "--samples", samples, "--reference", reference, "--features", features];
        expect(at, &[&arguments[..], more].concat(), 2).1
    };
    let digits = "dataset:Digits()";
    for (told, part) in [
        (evaluate("missing", digits, "pixels", &[]), "no file or folder missing"),
        (evaluate("empty", digits, "pixels", &[]), "the folder holds no PNG, JPEG or WebP files"),
        (evaluate("broken.npz", digits, "pixels", &[]), "broken.npz: not a whole npz file"),
        (
            evaluate(digits, digits, "vgg", &[]),
            "`vgg` is none of inception:FILE, classifier, judge:FILE, pixels",
        ),
        (
            evaluate(digits, digits, "inception:weights.safetensors", &[]),
            "weights.safetensors: none of the formats read here",
        ),
        (evaluate("dataset:SwissRoll()", digits, "pixels", &[]), "are compared with samples of"),
        (evaluate("dataset:SwissRoll()", digits, "classifier", &[]), "knows images of 8x8x1"),
        (evaluate(digits, digits, "pixels", &["--metrics", "sfid"]), "no spatial features"),
        (evaluate(digits, digits, "pixels", &["--split", "0"]), "from 1 to"),
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    // Everything that is wrong, at once.
    let told = evaluate("missing", "dataset:Didgets()", "vgg", &[]);
    assert_eq!(told.matches("allowed: ").count(), 3, "{told}");
    let lpips = ["lpips", digits, "dataset:Digits()@test", "--trunk-weights", "weights.safetensors"];
    let (_, told) = expect(at, &lpips, 2);
    assert!(told.contains("297 images of 8x8x1, but A has 1500 images of 8x8x1"), "{told}");
    assert!(told.contains("are not resized"), "{told}");
}

/// Images that are wide enough to stay as they are and too low for the trunk passed the check and ended in a panic.
#[test]
fn lpips_of_wide_and_low_images_is_wrong_input() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    part_of_fixture("lpips.safetensors", "alex/", &at.join("alex.safetensors"));
    write_grey(&at.join("wide.png"), 300, 20, |y, x| (x + y) as u8);
    let lpips =
        ["lpips", "wide.png", "wide.png", "--trunk", "alexnet", "--trunk-weights", "alex.safetensors"];
    let (_, told) = expect(at, &[&lpips[..], &["--resize", "below-256"]].concat(), 2);
    assert!(told.contains("images of 20x300x1 are not resized"), "{told}");
    write_grey(&at.join("wide.png"), 255, 20, |y, x| (x + y) as u8);
    expect(at, &[&lpips[..], &["--resize", "below-256"]].concat(), 0);
}

#[test]
fn a_study_that_asks_for_lpips_without_weights_is_told_before_it_runs() {
    let folder = crate::util::scratch(
        "(base: (dataset: Digits(), teacher: Trained(), consistency: (distance: Lpips(trunk_weights: \"no.safetensors\"))))",
    );
    let (_, told) = expect(folder.path(), &["run", "study.ron"], 2);
    assert!(told.contains("there is no file no.safetensors"), "{told}");
    assert!(!folder.path().join("runs").exists());
}

/// The arrays of a fixture whose names begin with `prefix`, without it, as a file of their own.
fn part_of_fixture(fixture: &str, prefix: &str, to: &Path) {
    let bytes = fs::read(crate::util::root().join("tests/fixtures/parity").join(fixture)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let arrays =
        file.iter().filter_map(|(name, view)| name.strip_prefix(prefix).map(|name| (name.to_owned(), view)));
    fs::write(to, safetensors::serialize(arrays, None).unwrap()).unwrap();
}

#[test]
fn lpips_trains_a_model_and_is_not_the_difference_of_pixels() {
    // A small trunk with random weights: what is learned is no matter, that its gradients arrive is.
    let study = |distance: &str| {
        format!(
            "(base: (
                dataset: Digits(),
                network: UNet(channels: 8, multipliers: [1, 2], blocks: 1, attention: []),
                teacher: None,
                method: Training,
                consistency: (
                    train: (total_images: 96, batch: 8),
                    init: Random,
                    curriculum: Fixed(num_levels: 6),
                    distance: {distance},
                ),
                evaluation: (samples: 16, metrics: [Recognised]),
                logging: (record_images: 8, picture_images: 96, residual_images: None, grid: 4),
            ))"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    part_of_fixture("lpips.safetensors", "alex/", &at.join("alex.safetensors"));
    let lpips = "Lpips(network: (trunk: AlexNet, pooling: Max), trunk_weights: \"alex.safetensors\")";
    let losses = |name: &str, distance: &str| -> Vec<f64> {
        fs::write(at.join(format!("{name}.ron")), study(distance)).unwrap();
        expect(at, &["run", &format!("{name}.ron"), "--out", "runs"], 0);
        let lines = fs::read_to_string(at.join("runs").join(name).join("base/seed-0/metrics.jsonl")).unwrap();
        let loss = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["student/loss"].as_f64()
        };
        lines.lines().filter_map(loss).collect()
    };
    let (perceptual, pixels) = (losses("lpips", lpips), losses("pixels", "SquaredL2"));
    assert_eq!((perceptual.len(), pixels.len()), (12, 12));
    assert!(perceptual.iter().all(|&loss| loss.is_finite() && loss > 0.0), "{perceptual:?}");
    // The network begins at 0 for both, so only what was learned since tells the second losses apart from a multiple.
    let ratio = |i: usize| perceptual[i] / pixels[i];
    assert!((ratio(11) / ratio(0) - 1.0).abs() > 1e-3, "{perceptual:?} {pixels:?}");
}

#[test]
fn a_study_scores_how_varied_samples_are_by_lpips_of_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    part_of_fixture("lpips.safetensors", "alex/", &at.join("alex.safetensors"));
    let study = |resize: &str| {
        format!(
            "(base: (
                dataset: Digits(),
                network: UNet(channels: 8, multipliers: [1, 2], blocks: 1, attention: []),
                teacher: None,
                method: Training,
                consistency: (train: (total_images: 16, batch: 8), init: Random, curriculum: Fixed(num_levels: 6)),
                evaluation: (
                    samples: 10,
                    metrics: [Recognised],
                    networks: [Lpips(
                        network: (trunk: AlexNet, pooling: Max, resize: {resize}),
                        trunk_weights: \"alex.safetensors\",
                    )],
                ),
                logging: (residual_images: None, grid: 4),
            ))"
        )
    };
    fs::write(at.join("small.ron"), study("Never")).unwrap();
    let (_, told) = expect(at, &["plan", "small.ron"], 2);
    assert!(told.contains("small.ron:11:73"), "{told}");
    assert!(told.contains("the trunk needs images of at least"), "{told}");

    fs::write(at.join("study.ron"), study("Below256")).unwrap();
    expect(at, &["run", "study.ron", "--out", "runs"], 0);
    let table = fs::read_to_string(at.join("runs/study/report.csv")).unwrap();
    let variety = |model: &str| -> f64 {
        let row = table.lines().find(|line| line.contains(model) && line.contains("lpips-diversity-10"));
        let row = row.unwrap_or_else(|| panic!("{model}: {table}"));
        row.split(',').nth(6).unwrap().parse().unwrap()
    };
    let (held_out, drawn) = (variety("floor"), variety("student"));
    assert!(held_out > 0.0 && drawn > 0.0 && held_out != drawn, "{held_out} {drawn}");
}
