//! The examples of the crates that are of use alone, as a person runs them: built with the tests, beside them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `cargo test` leaves the examples of the workspace.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_cm")).parent().unwrap().join("examples")
}

/// What an example prints.
fn run(name: &str) -> String {
    let path = examples().join(name);
    assert!(path.is_file(), "{} is built by `cargo test --workspace`", path.display());
    let output = Command::new(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The last number in a line.
fn number(line: &str) -> f64 {
    line.split_whitespace().filter_map(|word| word.trim_end_matches(',').parse().ok()).next_back().unwrap()
}

#[test]
fn samples_of_the_exact_mixture_are_as_likely_as_its_own() {
    let told = run("exact_mixture");
    let surprise: Vec<f64> = told.lines().map(number).collect();
    let [coarse, .., fine, own] = surprise[..] else { panic!("{told}") };
    assert!((fine - own).abs() < 0.15 && (coarse - own).abs() > (fine - own).abs(), "{told}");
}

#[test]
fn the_toy_is_distilled() {
    let told = run("distil_a_toy");
    let mean = told.lines().last().unwrap().split(['=', ',']).nth(1).unwrap().trim().parse::<f64>().unwrap();
    assert!((mean - 0.5).abs() < 0.1, "{told}");
}

#[test]
fn the_frechet_distance_comes_near_its_exact_value() {
    let told = run("frechet_distance");
    let last = told.lines().last().unwrap();
    let found: f64 = last.split([':', ',']).nth(1).unwrap().trim().parse().unwrap();
    assert!((found / number(last) - 1.0).abs() < 0.05, "{told}");
}
