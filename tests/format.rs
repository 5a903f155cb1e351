//! The format of studies, from outside: explained, as a schema, and as a study to start from.

use crate::util::{cm, expect, golden, root, scratch};
use std::fs;

#[test]
fn the_format_is_explained() {
    let folder = scratch("");
    let (tree, _) = expect(folder.path(), &["explain"], 0);
    golden("explain/tree.txt", &tree);
    for path in ["consistency.curriculum", "teacher.Trained.train.learning_rate", "evaluation.samples"] {
        let (text, _) = expect(folder.path(), &["explain", path], 0);
        golden(&format!("explain/{path}.txt"), &text);
    }
    let (page, _) = expect(folder.path(), &["explain", "--markdown"], 0);
    for field in ["total_images", "num_levels", "sigma_min", "density_neighbours"] {
        assert!(page.contains(&format!("| `{field}` | ")), "{field}");
    }
    let (_, told) = expect(folder.path(), &["explain", "lr"], 2);
    assert!(told.contains("did you mean `learning_rate`?"), "{told}");
}

#[test]
fn the_schema_is_json_and_so_is_a_study() {
    let folder = scratch("");
    let (text, _) = expect(folder.path(), &["schema"], 0);
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let study = root().join("experiments/smoke.ron");
    let (text, _) = expect(folder.path(), &["schema", study.to_str().unwrap()], 0);
    let study: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(study["base"]["consistency"].is_object(), "{text}");
}

#[test]
fn a_study_to_start_from_is_planned_and_run() {
    for (name, data) in [("ring", "gaussian-mixture"), ("first", "digits")] {
        let folder = scratch("");
        expect(folder.path(), &["init", name, "--dataset", data], 0);
        let file = format!("{name}.ron");
        let text = fs::read_to_string(folder.path().join(&file)).unwrap();
        golden(&format!("init/{file}"), &text);
        let (plan, _) = expect(folder.path(), &["plan", &file], 0);
        assert!(!plan.contains("// warning: network"), "{plan}");
        let (table, _) = expect(folder.path(), &["run", &file, "--set", "shortened_by=1000"], 0);
        assert!(table.contains("one-step"), "{table}");
        // What is there stays.
        let (_, told) = expect(folder.path(), &["init", name, "--dataset", data], 2);
        assert!(told.contains("is there already"), "{told}");
        assert_eq!(fs::read_to_string(folder.path().join(&file)).unwrap(), text);
    }
}

#[test]
fn a_study_of_ones_own_images_is_planned() {
    let folder = scratch("");
    let prepared =
        ["dataset", "prepare", "sheet", "--out", "data", "--labels", "nowhere", "--resolution", "8"];
    fs::create_dir(folder.path().join("sheet")).unwrap();
    for image in 0..40 {
        fs::copy(
            root().join("experiments/pictures/teacher.png"),
            folder.path().join(format!("sheet/{image}.png")),
        )
        .unwrap();
    }
    expect(folder.path(), &prepared, 0);
    for (name, data) in [("own", "data"), ("raw", "sheet")] {
        expect(folder.path(), &["init", name, "--dataset", data], 0);
        let output = cm(folder.path()).args(["plan", &format!("{name}.ron")]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A path in a study may begin beside the study file, wherever cm is started.
#[test]
fn data_beside_the_study_are_found_from_elsewhere() {
    let folder = scratch(
        "(base: (dataset: Source(path: \"sheet\", held_out: Some(9)), teacher: None, method: Training,
        network: UNet(channels: 8, multipliers: [1], attention: []), consistency: (init: Random),
        evaluation: (metrics: [Precision])))",
    );
    let studies = folder.path().join("studies");
    fs::create_dir_all(studies.join("sheet")).unwrap();
    fs::rename(folder.path().join("study.ron"), studies.join("study.ron")).unwrap();
    for image in 0..20 {
        let picture = root().join("experiments/pictures/teacher.png");
        fs::copy(picture, studies.join(format!("sheet/{image}.png"))).unwrap();
    }
    let (plan, _) = expect(folder.path(), &["plan", "studies/study.ron"], 0);
    assert!(plan.contains("path: \"studies/sheet\""), "{plan}");
}
