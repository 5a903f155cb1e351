//! The page of a study: everything in it, nothing outside it; and the table beside published numbers.

use crate::util::{expect, golden, ring, root, scratch};
use cm_experiment::Trained;
use cm_host::SamplesCard;
use cm_scoring::Card;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands between `<tag ...>` and `</tag>`, without tags, for some tags in the order of the page.
fn outline(page: &str, tags: &[&str]) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let Some(tag) =
            tags.iter().find(|tag| rest.strip_prefix(**tag).is_some_and(|r| r.starts_with(['>', ' '])))
        else {
            continue;
        };
        let inner = &rest[rest.find('>').unwrap() + 1..rest.find(&format!("</{tag}>")).unwrap()];
        let plain: String =
            inner.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
        text += &format!("{tag}: {plain}\n");
    }
    text
}

/// The values of an attribute.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    page.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// The PNG files below a folder.
fn png_files(folder: &Path) -> BTreeSet<Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| match path.is_dir() {
        true => png_files(&path),
        false if path.extension().is_some_and(|e| e == "png") => [fs::read(&path).unwrap()].into(),
        false => BTreeSet::new(),
    };
    paths.flat_map(of).collect()
}

#[test]
fn a_study_and_a_run_are_written_as_one_page() {
    let folder = scratch("");
    let study = root().join("experiments/smoke.ron");
    expect(folder.path(), &["run", study.to_str().unwrap(), "--out", "."], 0);
    let (told, _) = expect(folder.path(), &["report", "smoke"], 0);
    assert_eq!(told, "smoke/report.html\n");
    let page = fs::read_to_string(folder.path().join("smoke/report.html")).unwrap();
    golden("printed/report-smoke.txt", &outline(&page, &["h1", "h2", "h3", "caption", "summary", "legend"]));

    // Every link and every reference by id leads to one place.
    let ids: Vec<&str> = attributes(&page, "id");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "ids are unique");
    let links = attributes(&page, "href").into_iter().map(|link| link.strip_prefix('#').unwrap());
    let referred =
        attributes(&page, "aria-labelledby").into_iter().chain(attributes(&page, "aria-describedby"));
    for id in links.chain(referred) {
        assert!(unique.contains(id), "{id}");
    }
    // Nothing is asked of any network.
    assert!(!page.contains("http://") && !page.contains("https://") && page.contains("default-src 'none'"));
    assert!(attributes(&page, "src").iter().all(|source| source.starts_with("data:image/png;base64,")));
    let shown: BTreeSet<&str> = attributes(&page, "src").into_iter().collect();
    assert_eq!(shown.len(), png_files(&folder.path().join("smoke")).len());
    // The table's own numbers, as the terminal shows them.
    let report = fs::read_to_string(folder.path().join("smoke/report.md")).unwrap();
    for cell in report.lines().filter(|line| line.starts_with('|')).skip(2).flat_map(|line| line.split('|')) {
        assert!(page.contains(cell.trim()), "{cell}");
    }
    // What is of another number of samples is told apart, where that matters, and every score is defined.
    assert!(page.contains("297 samples") && page.contains("not on the same scale") && page.contains("†"));
    assert!(page.contains("Share of samples within the neighbourhoods of real images."));
    // One seed has no spread.
    assert!(!page.contains("spread of seeds") && !page.contains("over seeds"));

    // TensorBoard has the scores of the teachers.
    let teachers =
        fs::read_dir(folder.path().join("smoke/teachers")).unwrap().map(|entry| entry.unwrap().path());
    for teacher in teachers {
        let files = fs::read_dir(&teacher).unwrap().map(|entry| entry.unwrap().path());
        let has = |path: PathBuf| {
            let is_events = path.file_name().unwrap().to_string_lossy().starts_with("events.out.");
            is_events && fs::read(path).unwrap().windows(14).any(|bytes| bytes == b"score/teacher/")
        };
        assert!(files.filter(|path| path.is_file()).any(has), "{teacher:?}");
    }

    // A run alone, and to another place.
    let run = fs::read_dir(folder.path().join("smoke"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("seed-0"))
        .find(|path| path.is_dir())
        .unwrap();
    let run = run.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
    expect(folder.path(), &["report", &run, "--out", "run.html"], 0);
    let page = fs::read_to_string(folder.path().join("run.html")).unwrap();
    assert!(page.contains("1 of 1 runs finished") && page.contains("of the study smoke"));
}

#[test]
fn differences_and_what_is_missing_are_on_the_page() {
    let arms = "arms: Star([
        (name: \"heun\", changes: [Samplers([OneStep, Multistep(times: [0.5])])]),
        (name: \"euler\", changes: [Solver(Euler), Samplers([OneStep, Multistep(times: [0.5])])]),
    ])";
    let text = ring(64, arms).replace("question:", "seeds: [0, 1, 2], question:");
    let folder = scratch(&text);
    expect(folder.path(), &["run", "study.ron", "--out", "."], 0);
    // As if one run were still to be done.
    for gone in ["study/report.csv", "study/euler/seed-2/scores.csv"] {
        fs::remove_file(folder.path().join(gone)).unwrap();
    }
    expect(folder.path(), &["report", "study"], 0);
    let page = fs::read_to_string(folder.path().join("study/report.html")).unwrap();
    for part in [
        "5 of 6 runs finished",
        "<strong>Not finished: </strong>euler/seed-2",
        "Differences from heun, seed by seed: mean and standard error.",
        "Differences of further samplers from a model's first",
        "Mean and standard deviation over seeds",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_run_that_goes_on_has_scores_with_a_mark() {
    let text = ring(128, "seeds: [0, 1],").replace("samples: 64,", "samples: 64, every_images: 64,");
    let folder = scratch(&text);
    expect(folder.path(), &["run", "study.ron", "--out", "."], 0);
    let (whole, _) = expect(folder.path(), &["table", "study"], 0);
    assert!(!whole.contains('*'), "{whole}");
    for gone in ["study/report.csv", "study/base/seed-1/scores.csv"] {
        fs::remove_file(folder.path().join(gone)).unwrap();
    }
    let (table, notes) = expect(folder.path(), &["table", "study"], 0);
    assert!(table.contains("| student at 50%* |") && table.contains("| student         |"), "{table}");
    assert!(notes.contains("* of base/seed-1: scored on the way, after 64 of 128 images"), "{notes}");
}

#[test]
fn what_cannot_be_written_is_said() {
    let folder = scratch(&ring(64, ""));
    let (_, error) = expect(folder.path(), &["report", "."], 2);
    assert!(error.contains("plan.ron") || error.contains("no study"), "{error}");
    expect(folder.path(), &["run", "study.ron", "--out", "."], 0);
    let page = || fs::read_to_string(folder.path().join("study/report.html")).unwrap();
    let written = page();
    let (_, error) = expect(folder.path(), &["report", "study", "--out", "none/x.html"], 1);
    assert!(error.contains("none/x.html") && !error.contains("--out"), "{error}");
    fs::write(folder.path().join("study/base/seed-0/curves.csv"), "step,images,name,value\n1,2,a,x\n")
        .unwrap();
    let (_, error) = expect(folder.path(), &["report", "study"], 2);
    assert!(error.contains("curves.csv"), "{error}");
    assert!(page() == written, "the page of the run stays");
}

/// A card as `cm evaluate` writes it, of samples that say no more than `drawn`.
fn card(fid: f64, published: bool, drawn: Option<&SamplesCard>) -> String {
    let set = serde_json::json!({"source": "x.npz", "images": 50000, "shape": [1, 2, 1], "statistics_from_file": false,
        "quantisation": "none", "drawn": drawn});
    let metric = |name: &str, value: f64| serde_json::json!({"metric": name, "value": value, "spread": null, "spread_is": null});
    let card = serde_json::json!({
        "metrics": [metric(if published { "fid" } else { "frechet" }, fid), metric("precision", 0.5)],
        "samples": set, "reference": set,
        "features": {"network": "Inception", "weights": "w", "sha256": "00", "published": published, "dim": 2048,
            "resize": published.then_some("Tf1Bilinear")},
        "scaling": "Raw", "split": 5000, "neighbours": 3, "density_neighbours": 5,
        "kid_groups": 10, "version": "0", "commit": "0", "instruction_set": "avx2", "seal": "",
    });
    serde_json::from_value::<Card>(card).unwrap().json()
}

#[test]
fn a_table_puts_published_numbers_beside_evaluations_of_the_same_network() {
    let arms = "arms: Star([
        (name: \"heun\", changes: [], published: [
            (metric: Frechet, sampler: \"one-step\", value: 3.5, tolerance: 0.15, source: \"Table 1\"),
            (metric: Recall, sampler: \"one-step\", value: 0.25, tolerance: 0.01, source: \"Table 1\"),
        ]),
        (name: \"euler_\", changes: [Solver(Euler)], published: [
            (metric: Frechet, sampler: \"one-step\", value: 5.0, tolerance: 0.1, source: \"Table 1\"),
        ]),
    ])";
    let folder = scratch(&ring(64, arms).replace("question:", "seeds: [0, 1], question:"));
    let path = folder.path();
    // Before any run.
    let (text, notes) = expect(path, &["table", "study.ron"], 0);
    assert!(
        text.contains("| heun   | student | one-step |   1 |       - |     0 |   - |           3.5 |"),
        "{text}"
    );
    assert!(
        notes.contains("study: run heun/seed-1 is missing") && !notes.contains("not measured"),
        "{notes}"
    );
    expect(path, &["run", "study.ron", "--out", "."], 0);
    for (run, text) in [
        ("heun/seed-0", card(3.0, true, None)),
        ("heun/seed-1", card(4.2, true, None)),
        ("euler_/seed-0", card(9.0, true, None)),
        ("euler_/seed-1", card(9.0, false, None)),
    ] {
        let out = path.join("study").join(run).join("evaluations/one-step");
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("evaluation.json"), text).unwrap();
    }
    let (text, notes) = expect(path, &["table", "study"], 0);
    // Two seeds of 3.0 and 4.2: mean 3.6, standard deviation 0.8485, standard error 0.6.
    for part in
        ["| 3.600 ± 0.600 |", "| +0.100 (within 0.15) |", "| +4.000 (outside 0.1) |", "inception-precision"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.contains("Differences from heun, seed by seed"), "{text}");
    assert!(
        notes
            .contains("not measured by the published Inception network: inception-recall of heun, one-step;"),
        "{notes}"
    );
    assert!(
        notes.contains("euler_/seed-1/evaluations/one-step/evaluation.json: it was not made by"),
        "{notes}"
    );
    let (text, _) = expect(path, &["table", "study", "--format", "latex"], 0);
    assert!(text.contains("3.600 $\\pm$ 0.600 & 3.5 &") && text.contains("euler\\_ & student"), "{text}");
    let (text, _) = expect(path, &["table", "study", "study.ron", "--format", "csv"], 0);
    let row = text
        .lines()
        .find(|line| line.starts_with("study,heun,student,one-step,1,50000,fid,"))
        .unwrap_or_else(|| panic!("{text}"));
    let cells: Vec<&str> = row.split(',').collect();
    assert!((cells[7].parse::<f64>().unwrap() - 3.6).abs() < 1e-12, "{row}");
    assert!((cells[8].parse::<f64>().unwrap() - 0.6).abs() < 1e-12, "{row}");
    assert_eq!(cells[9..12], ["2", "3.5", "0.15"]);
    // Cards that are none, were changed, or are of samples of another run or sampler.
    let drawn = |run: &str, sampler: &str| SamplesCard {
        model: "a model".into(),
        of: Some(Trained::open_any(&path.join("study").join(run)).unwrap().identity()),
        sampler: sampler.into(),
        evaluations: 1,
        seed: 0,
        quantisation: "rounded".into(),
        version: "0".into(),
        instruction_set: "avx2".into(),
    };
    let place = path.join("study/heun/seed-0/evaluations/one-step/evaluation.json");
    for (text, reason) in [
        ("{}".to_owned(), "missing field"),
        (card(3.0, true, None).replace("3.0", "2.0"), "changed since it was written"),
        (card(3.0, true, Some(&drawn("heun/seed-1", "one-step"))), "it is of the student heun/seed-1"),
        (card(3.0, true, Some(&drawn("heun/seed-0", "multistep-3"))), "drawn by multistep-3"),
    ] {
        fs::write(&place, text).unwrap();
        let (_, error) = expect(path, &["table", "study"], 2);
        assert!(error.contains("evaluation.json") && error.contains(reason), "{reason}: {error}");
    }
    fs::write(&place, card(3.0, true, Some(&drawn("heun/seed-0", "one-step")))).unwrap();
    let (again, _) = expect(path, &["table", "study"], 0);
    assert!(again.contains("| 3.600 ± 0.600 |"), "{again}");
    // Values of a sampler that is not there.
    let wrong = arms.replace(
        "sampler: \"one-step\", value: 5.0, tolerance: 0.1",
        "sampler: \"two\", value: 5.0, tolerance: -1",
    );
    fs::write(path.join("study.ron"), ring(64, &wrong)).unwrap();
    let (_, error) = expect(path, &["plan", "study.ron"], 2);
    assert!(error.contains("no sampler `two`") && error.contains("tolerance is -1"), "{error}");
}
