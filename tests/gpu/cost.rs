//! What training steps of real networks ask a GPU for, counted on a stand-in that computes nothing.

use super::Standin;
use crate::util::{golden, root, scratch};
use std::process::Command;

/// Calls of the driver by which a step of DDPM++ may launch its kernels, which are twice as many.
const BUDGET: u64 = 600;

/// Steps of small networks and of DDPM++ for CIFAR-10 (55.7 million parameters, 16 images): kernels, calls of the driver,
/// what crosses, and the memory at its peak beside what a plan predicts.
#[test]
fn a_step_s_launches_and_bytes_are_what_they_were() {
    let Some(standin) = Standin::new() else { return };
    let standin = standin.with("STANDIN_DRY", 1);
    let folder = scratch("");
    let mut table = String::from(
        "network and method, images, precision: kernels, launches, copies and bytes to and from the GPU, peak MiB\n",
    );
    for (network, batch, precision) in [
        ("small", 8, "f32"),
        ("small", 8, "bf16"),
        ("medium", 8, "f32"),
        ("ddpm++", 16, "f32"),
        ("ddpm++", 16, "bf16"),
    ] {
        let batch_text = batch.to_string();
        let arguments =
            ["bench", "step", "--network", network, "--batch", &batch_text, "--precision", precision];
        let methods: &[&str] = if network == "ddpm++" { &["teacher"] } else { &["teacher", "distillation"] };
        for method in methods {
            let told = standin.succeed(
                folder.path(),
                &[&arguments[..], &["--filter", method, "--repeats", "2", "--threads", "1"]].concat(),
            );
            let record: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
            let device = &record["device"];
            let count = |name: &str| device[name].as_u64().unwrap();
            let peak = device["peak_mib"].as_f64().unwrap();
            table += &format!(
                "{}, {batch}, {precision}: {} kernels, {} launches, to {} in {}, from {} in {}, {peak:.1} MiB\n",
                record["case"].as_str().unwrap(),
                count("kernels"),
                count("launches"),
                count("bytes_to"),
                count("copies_to"),
                count("bytes_from"),
                count("copies_from"),
            );
            if network == "ddpm++" {
                assert!(count("launches") <= BUDGET, "{table}");
                // Weights, gradients, two moments and an average; the plan's count of what is kept is above it by less
                // than a factor of two in single precision.
                let images = batch as f64;
                let (arrays, kept) = (5.0 * 55_732_739.0 * 4.0 / 1048576.0, 96.0 * images);
                if precision == "f32" {
                    assert!(
                        peak > arrays + kept / 2.0 && peak < arrays + 1.25 * kept,
                        "{peak} {arrays} {kept}"
                    );
                }
            }
        }
    }
    golden("gpu-steps.txt", &table);
}

/// The script for the first card, on the stand-in that computes nothing: it says that the values are not the CPU's, prints
/// its table, and does all the rest.
#[test]
fn the_script_for_the_first_card_prints_its_table() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(&crate::util::ring(64, ""));
    let script = |standin: Option<&Standin>, more: &[&str]| {
        let mut command = Command::new(root().join("scripts/gpu/first-card"));
        command.current_dir(folder.path()).args([
            "--cm",
            env!("CARGO_BIN_EXE_cm"),
            "--python",
            "no-such-python",
        ]);
        command.args([
            "--networks",
            "small:2",
            "--precisions",
            "F32 Bf16",
            "--repeats",
            "1",
            "--filter",
            "copy",
        ]);
        command.args(["--study", "study.ron", "--out", "first"]).args(more);
        if let Some(standin) = standin {
            standin.equip(&mut command, folder.path());
        }
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let dry = standin.with("STANDIN_DRY", 1);
    let (code, told, errors) = script(Some(&dry), &[]);
    assert_eq!(code, Some(1), "{told}\n{errors}");
    for part in [
        "# First card: cuda:0  host fibers",
        "| parity | exit code 1: error: too far from what the CPU computes: ",
        "| copy/256 MiB | ",
        " GB/s |",
        "| small-F32-teacher, 2 images | ",
        " kernels in ",
        "| small-without-graphs | ",
        "| small-F32-timed | ",
        "by host fibers; compute capability 9.0; no cuBLASLt; no cuDNN: 0 products by cuBLASLt, 0 by cuDNN, 0 by ours |",
        "Not as it should be:\n* parity: exit code 1",
    ] {
        assert!(told.contains(part), "{part}\n{told}\n{errors}");
    }
    let steps = std::fs::read_to_string(folder.path().join("first/steps.jsonl")).unwrap();
    assert_eq!(
        steps.lines().count(),
        3,
        "the teacher's steps in two precisions, one distillation's: {steps}"
    );
    crate::util::expect(folder.path(), &["plan", "study.ron", "--measured", "first/steps.jsonl"], 0);
    let (code, told, errors) = script(Some(&dry), &["--seconds", "4"]);
    assert_eq!(code, Some(2), "{told}\n{errors}");
    let (code, _, errors) = script(None, &[]);
    assert!(code == Some(2) && errors.contains("there is no card to compute on"), "{errors}");
}
