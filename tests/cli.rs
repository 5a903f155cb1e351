//! The command line as a contract: exit codes, help, what is written where, stopping and going on.

use crate::util::{cm, expect, ring, scratch};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn every_command_has_help_with_an_example() {
    let folder = scratch("");
    let (help, _) = expect(folder.path(), &["--help"], 0);
    let commands: Vec<&str> = (help.lines())
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(
        ["run", "plan", "resume", "table", "sample", "edit", "search-times"]
            .iter()
            .all(|command| commands.contains(command)),
        "{help}"
    );
    for command in commands.into_iter().filter(|command| *command != "help") {
        let (help, _) = expect(folder.path(), &[command, "--help"], 0);
        let example = help.split_once("Example:\n").map(|(_, example)| example.trim_start());
        let mut words = example.unwrap_or_default().split_whitespace();
        assert_eq!((words.next(), words.next()), (Some("cm"), Some(command)), "{help}");
    }
}

#[test]
fn wrong_arguments_are_wrong_input() {
    let folder = scratch(&ring(64, ""));
    for arguments in [&["fly"][..], &["run"], &["plan", "a", "b"], &["run", "study.ron", "--threads", "0"]] {
        expect(folder.path(), arguments, 2);
    }
}

#[test]
fn the_devices_are_told_without_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let (told, _) = expect(folder.path(), &["devices"], 0);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("cpu ") && lines[0].contains("threads"), "{told}");
    assert!(lines[1].starts_with("cuda"), "{told}");
    for library in ["driver", "NVRTC", "cuBLASLt", "cuDNN", "NCCL"] {
        let line = lines.iter().find(|line| line.trim_start().starts_with(&format!("{library}: "))).unwrap();
        assert!(line.contains("found as lib") || line.contains("not found; looked for lib"), "{told}");
    }
}

#[test]
fn a_device_that_is_none_or_not_there_is_wrong_input() {
    let folder = scratch(&ring(64, ""));
    for (device, told) in [
        ("gpu", "CM_DEVICE is `gpu`; allowed are cpu, cuda and cuda:N, N the number of a GPU from 0"),
        ("cuda:99", "CM_DEVICE is `cuda:99`, and "),
    ] {
        let output = cm(folder.path()).args(["run", "study.ron"]).env("CM_DEVICE", device).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
        assert!(!folder.path().join("runs").exists());
    }
    let asked = |device: &str, arguments: &[&str], part: &str| {
        let (_, told) = expect(folder.path(), &[arguments, &["--device", device]].concat(), 2);
        assert!(told.contains(part), "{told}");
        assert!(!folder.path().join("runs").exists());
    };
    let allowed = "allowed are cpu, cuda and cuda:N, N the number of a GPU from 0";
    asked("gpu", &["run", "study.ron"], allowed);
    asked("cuda:-1", &["resume", "runs/study"], allowed);
    asked("cuda:99", &["run", "study.ron"], "--device is `cuda:99`, and ");
    asked("cuda:99", &["sample", "nowhere", "--out", "runs"], "--device is `cuda:99`, and ");
    asked("cpu", &["plan", "study.ron"], "--device is for those that do");
    asked("cpu", &["bench", "gpu"], "this is for GPUs");
    asked("cpu", &["bench", "parity"], "--device cuda takes a GPU");
    asked("cpu", &["bench", "step", "--precision", "bf16"], "precision Bf16 is for GPUs");
}

#[test]
fn anything_but_single_precision_on_the_cpu_is_wrong_input_and_can_be_planned() {
    let folder = scratch(&ring(64, ""));
    for precision in ["Tf32", "Bf16"] {
        let set = format!("base.precision={precision}");
        let (_, told) = expect(folder.path(), &["run", "study.ron", "--set", &set], 2);
        assert!(
            told.contains(&format!("precision {precision} is for GPUs")) && told.contains("F32"),
            "{told}"
        );
        assert!(!folder.path().join("runs").exists());
        let (plan, _) = expect(folder.path(), &["plan", "study.ron", "--set", &set], 0);
        assert!(plan.contains(&format!("// arm base: products in {precision}, on a GPU only\n")), "{plan}");
        assert!(plan.contains(&format!("precision: {precision},")), "{plan}");
    }
    let (_, told) = expect(folder.path(), &["plan", "study.ron", "--set", "base.precision=F16"], 2);
    assert!(told.contains("F32") && told.contains("Tf32") && told.contains("Bf16"), "{told}");
}

#[test]
fn a_benchmark_gives_a_line_of_json_for_each_case() {
    let folder = scratch("");
    let (listed, _) = expect(folder.path(), &["bench", "sample", "--list"], 0);
    assert_eq!(listed, "small/batch-64\nsmall/batch-1\n");
    let timed = ["bench", "sample", "--filter", "batch-1", "--repeats", "2", "--threads", "1"];
    let (line, _) = expect(folder.path(), &timed, 0);
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in ["\"case\":\"small/batch-1\"", "\"batch\":1,", "\"threads\":1,", "\"repeats\":2,"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_benchmark_that_cannot_be_is_wrong_input() {
    let folder = scratch("");
    for (arguments, part) in [
        (&["bench", "sample", "--filter", "batch-7"][..], "there are: small/batch-64, small/batch-1"),
        (&["bench", "step", "--network", "medium", "--channels", "6"], "channels"),
        (&["bench", "step", "--batch", "0"], "batch"),
        (&["bench", "export", "missing/small.safetensors"], "missing/small.safetensors"),
    ] {
        let (_, told) = expect(folder.path(), arguments, 2);
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_plan_is_printed_and_nothing_is_touched() {
    let folder = scratch(&ring(320, "seeds: [0, 1], arms: Star([(name: \"l1\", changes: [Distance(L1)])]),"));
    let (plan, _) = expect(folder.path(), &["plan", "study.ron"], 0);
    assert!(plan.starts_with("// 2 runs: 1 arms x 2 seeds\n// arm l1: "), "{plan}");
    assert!(plan.contains("320 images in 10 steps"), "{plan}");
    assert!(plan.contains("distance: L1") && plan.contains("rho: 7.0"), "every value is written out: {plan}");
    assert_eq!(entries(folder.path()), 1);
}

#[test]
fn a_plan_is_priced_in_time_on_this_machine() {
    let folder = scratch(&ring(64, ""));
    let (plan, _) = expect(folder.path(), &["plan", "study.ron", "--calibrate"], 0);
    for part in [
        "// this machine: ",
        "operations a second in a training step of arm base's network",
        "training in all takes about",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert_eq!(entries(folder.path()), 1, "study.ron alone");
}

/// The table is what `cm bench step` prints, wherever that was; what is none is told with its line.
#[test]
fn a_plan_is_priced_by_steps_that_were_measured_elsewhere() {
    let folder = scratch(&ring(320, ""));
    let line = |gflops: f64, device: &str| {
        format!(
            "{{\"bench\":\"step\",\"case\":\"ddpm++.teacher\",\"batch\":256,\"threads\":2,\"isa\":\"avx2\",\"gflops\":{gflops:?},\
             \"device\":{device}}}\n"
        )
    };
    let on_card = line(1.3e-3, "{\"on\":\"cuda:0 a card, Bf16\",\"kernels\":3}");
    fs::write(folder.path().join("steps.jsonl"), line(1e-6, "null") + &on_card).unwrap();
    let (plan, _) = expect(folder.path(), &["plan", "study.ron", "--measured", "steps.jsonl"], 0);
    let told: Vec<&str> = plan.lines().filter(|line| line.starts_with("// measured: ")).collect();
    let operations = plan.split_once("// training in all: ").unwrap().1.split_once(' ').unwrap().0;
    let seconds = operations.parse::<f64>().unwrap() / 1.3e6;
    assert!(told.len() == 2 && seconds > 1.0, "{plan}");
    let card = "on cuda:0 a card, Bf16, at the 1.3e6 operations a second of ddpm++.teacher with 256 images";
    assert!(told[0].ends_with(card), "fastest first: {told:?}");
    assert!(told[1].contains(" on a CPU with avx2, 2 threads, at the 1.0e3 operations "), "{told:?}");
    let said = told[0].strip_prefix("// measured: ").unwrap().split_once(" on ").unwrap().0;
    assert_eq!(said, cm_study::duration(seconds), "{operations}");
    for (table, told) in [
        ("", "none.jsonl: it has no line of `cm bench step`"),
        ("{}\n", "none.jsonl: line 1: missing field `bench`"),
        (
            &on_card.replace("step", "kernels"),
            "line 1: `kernels` at 0.0013 GFLOP/s; allowed are lines of `cm bench step`",
        ),
    ] {
        fs::write(folder.path().join("none.jsonl"), table).unwrap();
        let (_, errors) = expect(folder.path(), &["plan", "study.ron", "--measured", "none.jsonl"], 2);
        assert!(errors.contains(told), "{told}: {errors}");
    }
}

#[test]
fn what_is_in_the_way_is_told_and_goes_if_that_is_asked_for() {
    let folder = scratch(&ring(64, ""));
    let run = |more: &[&str], code: i32| {
        expect(folder.path(), &[&["run", "study.ron", "--out", "results"], more].concat(), code)
    };
    run(&[], 0);
    let other = ["--set", "base.consistency.train.total_images=96"];
    let (_, told) = run(&other, 2);
    assert!(told.contains("another plan") && told.contains("--overwrite"), "{told}");
    let study = folder.path().join("results/study");
    let plan = fs::read(study.join("plan.ron")).unwrap();
    // Somebody's own file.
    fs::write(study.join("notes.txt"), "mine").unwrap();
    let (_, told) = run(&[&other[..], &["--overwrite"]].concat(), 2);
    assert!(told.contains("`notes.txt`"), "{told}");
    assert_eq!(fs::read(study.join("plan.ron")).unwrap(), plan, "as it was");
    fs::remove_file(study.join("notes.txt")).unwrap();
    run(&[&other[..], &["--overwrite"]].concat(), 0);
    assert_ne!(fs::read(study.join("plan.ron")).unwrap(), plan);
    assert_eq!(entries(&folder.path().join("results")), 1, "nothing of the old one is left");
    // The same plan, once more from its beginning.
    let (told, _) = run(&other, 0);
    assert!(told.contains("this very plan was run before"), "{told}");
    let (told, _) = run(&[&other[..], &["--overwrite"]].concat(), 0);
    assert!(told.contains("report: results/study/report.html"), "{told}");
    fs::create_dir(folder.path().join("thesis")).unwrap();
    fs::write(folder.path().join("thesis/thesis.tex"), "mine").unwrap();
    let (_, told) =
        expect(folder.path(), &["run", "study.ron", "--out", ".", "--name", "thesis", "--overwrite"], 2);
    assert!(told.contains("thesis"), "{told}");
    assert_eq!(fs::read_to_string(folder.path().join("thesis/thesis.tex")).unwrap(), "mine");
}

#[test]
fn a_run_leaves_a_folder_that_explains_itself() {
    let folder = scratch(&ring(320, "seeds: [3],"));
    let (table, progress) = expect(folder.path(), &["run", "study.ron", "--out", "results"], 0);
    assert!(table.contains("| student |") && table.contains("results/study"), "{table}");
    assert!(progress.contains("base/seed-3"), "{progress}");
    let study = folder.path().join("results/study");
    let run = study.join("base/seed-3");
    for file in ["study.ron", "plan.ron", "report.csv", "report.md", "report.html"] {
        assert!(study.join(file).is_file(), "{file}");
    }
    assert!(table.ends_with("report: results/study/report.html\n"), "{table}");
    for file in ["plan.ron", "provenance.ron", "metrics.jsonl", "curves.csv", "timing.jsonl", "scores.csv"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert!(run.join("events.out.tfevents.0000000000").is_file());
    let report = fs::read_to_string(study.join("report.csv")).unwrap();
    assert!(report.starts_with("arm,seed,model,sampler,nfe,metric,value,samples\n"), "{report}");
    let mut rows = csv::Reader::from_reader(report.as_bytes());
    let rows: Vec<csv::StringRecord> = rows.records().collect::<Result<_, _>>().unwrap();
    assert!(rows.iter().all(|row| row[6].parse::<f64>().unwrap().is_finite()));
    for line in fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["step"].is_u64() && row["images"].is_u64(), "{line}");
    }
    let provenance = fs::read_to_string(run.join("provenance.ron")).unwrap();
    assert!(provenance.contains("seed: 3") && provenance.contains("threads:"), "{provenance}");

    // Run again: the same plan is not repeated, another one is not mixed in.
    let (again, _) = expect(folder.path(), &["run", "study.ron", "--out", "results"], 0);
    assert!(again.contains("was run before") && again.contains("| student |"), "{again}");
    let (printed, _) = expect(folder.path(), &["table", "results/study"], 0);
    assert!(printed.contains("| student |") && printed.contains("sliced-wasserstein"), "{printed}");
    let (told, _) = expect(folder.path(), &["status", "results/study"], 0);
    assert!(told.contains("1 of 1 finished, 100%") && told.ends_with("nothing is left to do\n"), "{told}");
    fs::write(folder.path().join("study.ron"), ring(352, "seeds: [3],")).unwrap();
    let (_, error) = expect(folder.path(), &["run", "study.ron", "--out", "results"], 2);
    assert!(error.contains("--out"), "{error}");
    // Under another name it is another folder.
    expect(folder.path(), &["run", "study.ron", "--out", "results", "--name", "longer"], 0);
    assert!(folder.path().join("results/longer/report.csv").is_file());
    let (_, error) = expect(folder.path(), &["run", "study.ron", "--name", "../other"], 2);
    assert!(error.contains("letters, digits"), "{error}");
    let (_, error) = expect(folder.path(), &["status", "results"], 2);
    assert!(error.contains("results"), "{error}");
}

#[test]
fn every_sampler_can_be_asked_for_and_its_evaluations_are_reported() {
    let arms = "arms: Star([
        (name: \"flow\", changes: [TeacherSampler(method: Flow(solver: DpmSolver2), levels: 4)]),
        (name: \"distilled\", changes: [TeacherSampler(method: Flow(solver: Euler, end: SigmaMin), levels: 4)]),
        (name: \"churned\", changes: [TeacherSampler(method: Churned(churn: (amount: 4)), levels: 4)]),
        (name: \"dpm\", changes: [TeacherSampler(method: DpmSolverPlusPlus(), levels: 4, spacing: Exponential)]),
        (name: \"ancestral\", changes: [TeacherSampler(method: Ancestral(), levels: 4, spacing: Linear)]),
    ]),";
    let samplers =
        "samples: 64, student: [OneStep, Multistep(times: [5, 0.8]), Gamma(gamma: 0.3, times: [0.8])]";
    let folder = scratch(&ring(64, arms).replace("samples: 64", samplers));
    let (table, _) = expect(folder.path(), &["run", "study.ron"], 0);
    let row = |arm: &str, sampler: &str| {
        let mut lines = table.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let found = lines.find(|cells| cells.len() > 4 && cells[1] == arm && cells[3] == sampler);
        found.unwrap_or_else(|| panic!("no {sampler} of {arm} in\n{table}"))[4].parse::<usize>().unwrap()
    };
    for (arm, sampler, evaluations) in [
        ("flow", "dpm-solver-2-4", 7),
        ("distilled", "euler-4-to-sigma-min", 3),
        ("churned", "heun-4-churn-4", 7),
        ("dpm", "dpm-solver++-4-exponential", 4),
        ("ancestral", "ancestral-4-eta-1-linear", 4),
        ("flow", "one-step", 1),
        ("dpm", "multistep-5-0.8", 3),
        ("ancestral", "gamma-0.3-at-0.8", 2),
    ] {
        assert_eq!(row(arm, sampler), evaluations, "{arm}: {sampler}");
    }
}

#[test]
fn times_of_multistep_sampling_are_searched_in_a_finished_run() {
    let smoke = fs::read_to_string(crate::util::root().join("experiments/smoke.ron")).unwrap();
    let folder = scratch(&smoke);
    expect(folder.path(), &["run", "study.ron", "--out", "."], 0);
    let run = "study/cd/seed-0";
    let two =
        ["search-times", run, "--points", "2", "--samples", "96", "--levels", "9", "--out", "times.ron"];
    let (found, told) = expect(folder.path(), &two, 0);
    assert!(told.contains("cd/seed-0: one-step") && told.contains("cd/seed-0: multistep-"), "{told}");
    assert_eq!(fs::read_to_string(folder.path().join("times.ron")).unwrap(), found);
    assert!(found.contains("| one step ") && found.contains("weights ema-0.9"), "{found}");
    // Each line of the table was evaluated once; the first is the run's own score if that has as many samples.
    let cells = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter(|line| line.starts_with("// | ") && !line.contains("frechet"));
        rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
    };
    let rows = cells(&found);
    let mut indexes: Vec<&String> = rows.iter().map(|row| &row[1]).collect();
    indexes.sort();
    indexes.dedup();
    assert_eq!(indexes.len(), rows.len(), "{found}");
    let (of_run, _) = expect(folder.path(), &["search-times", run], 0);
    let scores = fs::read_to_string(folder.path().join(run).join("scores.csv")).unwrap();
    let one_step = scores.lines().find(|line| line.contains("ema-0.9,one-step,1,frechet-64")).unwrap();
    let score: f64 = one_step.split(',').nth(6).unwrap().parse().unwrap();
    let table: f64 = cells(&of_run)[0][3].parse().unwrap();
    assert!((table / score - 1.0).abs() < 1e-3, "{table} and {score}");
    // What was found is a sampler that a study understands.
    let fragment = found.lines().last().unwrap();
    let study = smoke.replace("Multistep(times: [0.8])", &found);
    assert!(fragment.starts_with("Multistep(times: [") && study.contains(fragment), "{fragment}");
    fs::write(folder.path().join("study.ron"), study).unwrap();
    expect(folder.path(), &["plan", "study.ron"], 0);

    let refused = |arguments: &[&str], part: &str| {
        let (_, error) = expect(folder.path(), &[&["search-times"], arguments].concat(), 2);
        assert!(error.contains(part), "{error}");
    };
    refused(&["study"], "study/cd/seed-0");
    refused(&["study/teachers"], "there is no model.safetensors");
    refused(&[run, "--points", "0", "--average", "9"], "--points is 0");
    refused(&[run, "--points", "0", "--average", "9"], "--average is 9");
    refused(&[run, "--points", "5"], "--levels may give more");
    refused(&[run, "--samples", "1"], "--samples is 1");
    refused(&[run, "--out", "nowhere/times.ron"], "cannot write to nowhere/times.ron");
}

#[test]
fn the_same_plan_gives_the_same_numbers_with_one_thread_and_two() {
    let folder = scratch(&ring(320, ""));
    expect(folder.path(), &["run", "study.ron", "--out", "one", "--threads", "1"], 0);
    expect(folder.path(), &["run", "study.ron", "--out", "two", "--threads", "2"], 0);
    for file in ["report.csv", "base/seed-0/metrics.jsonl", "base/seed-0/curves.csv"] {
        let [one, two] =
            ["one", "two"].map(|out| fs::read(folder.path().join(out).join("study").join(file)).unwrap());
        assert!(one == two, "{file} differs");
    }
}

#[test]
fn folders_that_cannot_be_used_are_found_before_any_work() {
    let folder = scratch(&ring(320, ""));
    fs::write(folder.path().join("file"), "").unwrap();
    let (_, error) = expect(folder.path(), &["run", "study.ron", "--out", "file"], 2);
    assert!(error.contains("cannot write") && error.contains("--out"), "{error}");
    let (_, error) = expect(folder.path(), &["resume", "nowhere"], 2);
    assert!(error.contains("not the folder of a study"), "{error}");
    expect(folder.path(), &["table", "."], 2);

    // Something else lies there.
    fs::create_dir_all(folder.path().join("other/study/photos")).unwrap();
    expect(folder.path(), &["run", "study.ron", "--out", "other"], 2);
    assert_eq!(entries(&folder.path().join("other/study/photos")), 0);

    // Another process works there.
    fs::create_dir_all(folder.path().join("busy/study")).unwrap();
    let lock = File::create(folder.path().join("busy/study/.lock")).unwrap();
    lock.try_lock().unwrap();
    let (_, error) = expect(folder.path(), &["run", "study.ron", "--out", "busy"], 2);
    assert!(error.contains("another process"), "{error}");
}

/// Starts a run, asks it to stop once it has left a checkpoint, and returns how it ended.
fn run_and_stop(folder: &Path) -> Output {
    let child = Command::new(env!("CARGO_BIN_EXE_cm"))
        .current_dir(folder)
        .args(["run", "study.ron", "--out", "stopped"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let checkpoint = folder.join("stopped/study/base/seed-0/checkpoints/state.safetensors");
    let start = Instant::now();
    while !checkpoint.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

#[test]
#[cfg(unix)]
fn a_stopped_study_goes_on_as_if_it_had_not_been_stopped() {
    let folder = scratch(&ring(32_000, ""));
    let output = run_and_stop(folder.path());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("stopped; continue with: cm resume stopped/study"), "{message}");
    // An unfinished study is not begun again by accident.
    let (_, error) = expect(folder.path(), &["run", "study.ron", "--out", "stopped"], 2);
    assert!(error.contains("cm resume"), "{error}");
    expect(folder.path(), &["resume", "stopped/study"], 0);
    expect(folder.path(), &["run", "study.ron", "--out", "whole"], 0);
    for file in
        ["report.csv", "base/seed-0/metrics.jsonl", "base/seed-0/curves.csv", "base/seed-0/model.safetensors"]
    {
        let [stopped, whole] = ["stopped", "whole"]
            .map(|out| fs::read(folder.path().join(out).join("study").join(file)).unwrap());
        assert!(stopped == whole, "{file} differs");
    }
    let (again, _) = expect(folder.path(), &["resume", "stopped/study"], 0);
    assert!(again.contains("was run before"), "{again}");
}

/// A stop that came while a picture was drawn once lost all since the last regular checkpoint.
#[test]
#[cfg(unix)]
fn a_study_that_is_stopped_while_a_picture_is_drawn_goes_on_from_that_step() {
    // A picture of many points takes a second or so.
    let study = ring(32_000, "").replace("width: 16", "width: 64").replace(
        "checkpoint_images: 256, grid: 4",
        "checkpoint_images: 32_000, picture_images: 16_000, residual_images: None, grid: 10_000",
    );
    let folder = scratch(&study);
    let output = run_and_stop(folder.path());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    let (_, message) = expect(folder.path(), &["resume", "stopped/study"], 0);
    assert!(message.contains("going on after step 500 of 1000"), "{message}");
    expect(folder.path(), &["run", "study.ron", "--out", "whole"], 0);
    for file in [
        "report.csv",
        "base/seed-0/curves.csv",
        "base/seed-0/model.safetensors",
        "base/seed-0/samples/one-step-00000500.png",
        "base/seed-0/samples/one-step-00001000.png",
    ] {
        let [stopped, whole] = ["stopped", "whole"]
            .map(|out| fs::read(folder.path().join(out).join("study").join(file)).unwrap());
        assert!(stopped == whole, "{file} differs");
    }
    expect(folder.path(), &["verify", "stopped/study"], 0);
}

#[test]
fn a_truncated_checkpoint_with_none_before_it_is_wrong_input_and_stays_as_it_is() {
    let folder = scratch(&ring(32_000, ""));
    run_and_stop(folder.path());
    let checkpoint = folder.path().join("stopped/study/base/seed-0/checkpoints/state.safetensors");
    // With one before it, the run goes on from that.
    let _ = fs::remove_file(checkpoint.with_file_name("state-before.safetensors"));
    let bytes = fs::read(&checkpoint).unwrap();
    for kept in [0, 7, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&checkpoint, &bytes[..kept]).unwrap();
        let (_, error) = expect(folder.path(), &["resume", "stopped/study"], 2);
        assert!(error.contains("state.safetensors: not a whole safetensors file"), "{error}");
        assert_eq!(
            fs::read(&checkpoint).unwrap().len(),
            kept,
            "a damaged file is left for its owner to look at"
        );
    }
    let mut flipped = bytes.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    fs::write(&checkpoint, flipped).unwrap();
    let (_, error) = expect(folder.path(), &["resume", "stopped/study"], 2);
    assert!(error.contains("checksum"), "{error}");
    fs::write(&checkpoint, bytes).unwrap();
    expect(folder.path(), &["resume", "stopped/study"], 0);
}

#[test]
fn a_loss_that_is_not_finite_fails_the_run_and_says_where() {
    let study = ring(3_200, "").replace("batch: 32,", "batch: 32, learning_rate: (peak: 1e30),");
    let folder = scratch(&study);
    let (_, error) = expect(folder.path(), &["run", "study.ron"], 1);
    assert!(
        error.contains("training base/seed-0: student") && error.contains("is not finite at step"),
        "{error}"
    );
    // The step, the seeds and the levels, and that of no more than a few images.
    for part in
        ["seeds: noise 0x", ", dropout 0x", "image 0 at noise levels ", " more)", "lower the learning rate"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!folder.path().join("runs/study/report.csv").exists());
}

#[test]
fn curves_tell_losses_and_residuals_apart_by_noise_level() {
    let folder = scratch(&ring(320, "").replace("grid: 4", "grid: 4, residual_images: 128"));
    expect(folder.path(), &["run", "study.ron"], 0);
    let curves = fs::read_to_string(folder.path().join("runs/study/base/seed-0/curves.csv")).unwrap();
    let steps = |name: &str| -> Vec<u64> {
        let rows = curves.lines().filter(|line| line.split(',').nth(2).unwrap().starts_with(name));
        rows.map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
    };
    let losses = steps("student/loss_by_level/");
    assert!(losses.len() > 20 && losses.first() == Some(&2) && losses.last() == Some(&10), "{losses:?}");
    // All sixteen bins after 128, 256 and 320 images.
    let residuals = steps("student/residual/");
    assert_eq!(residuals, [[4; 16], [8; 16], [10; 16]].concat());
}

#[test]
fn averages_are_worked_out_after_a_run_that_kept_snapshots() {
    let keeping = "ema: [PerStep(0.9), Power(0.08)], snapshots: (count: 5)";
    let folder = scratch(&ring(640, "").replace("ema: [PerStep(0.9)]", keeping));
    expect(folder.path(), &["run", "study.ron"], 0);
    let run = "runs/study/base/seed-0";
    assert_eq!(entries(&folder.path().join(run).join("snapshots")), 5);
    let report = fs::read_to_string(folder.path().join("runs/study/report.csv")).unwrap();
    let (table, progress) =
        expect(folder.path(), &["ema", run, "--sigma-rel", "0.08", "--sigma-rel", "0.05"], 0);
    assert!(table.contains("student-ema-power-0.08") && table.contains("student-ema-power-0.05"), "{table}");
    assert!(progress.contains("ema-power-0.05: its profile is met up to 0.00 per cent"), "{progress}");
    for file in ["ema-power-0.08.safetensors", "ema-power-0.05.safetensors"] {
        assert!(folder.path().join(run).join("post-hoc").join(file).is_file(), "{file}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("runs/study/report.csv")).unwrap(), report);
    expect(folder.path(), &["ema", run, "--sigma-rel", "0.5"], 2);
    let (_, error) = expect(folder.path(), &["ema", "runs/study", "--sigma-rel", "0.08"], 2);
    assert!(error.contains("ARM/seed-0"), "{error}");
    fs::remove_file(folder.path().join(run).join("snapshots/00000012.safetensors")).unwrap();
    let (_, error) = expect(folder.path(), &["ema", run, "--sigma-rel", "0.08"], 2);
    assert!(error.contains("00000012.safetensors"), "{error}");

    let folder = scratch(&ring(64, ""));
    expect(folder.path(), &["run", "study.ron"], 0);
    let (_, error) = expect(folder.path(), &["ema", run, "--sigma-rel", "0.08"], 2);
    assert!(error.contains("kept no snapshots"), "{error}");
}

#[test]
fn a_plan_warns_of_phases_too_short_for_their_levels() {
    let training = ring(640, "").replace("consistency: (", "method: Training,\n        consistency: (");
    let folder = scratch(&training);
    let (plan, _) = expect(folder.path(), &["plan", "study.ron"], 0);
    let warned = "// warning: arm base: 4 steps for each interval while N is 6 (images 0 to 640)";
    assert!(plan.contains(warned) && plan.contains("a batch of 32 wants 200"), "{plan}");
    let (_, progress) = expect(folder.path(), &["run", "study.ron"], 0);
    assert!(progress.contains("| base  |          0 |      640 | 6 |    20 |"), "{progress}");
    assert!(progress.contains("warning: arm base"), "{progress}");
}
