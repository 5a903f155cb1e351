//! Runs whose products are timed: who computes them is kept with the run, and computes them again.

use super::Standin;
use crate::reproducibility::{assert_same, results};
use crate::util::{ring, scratch};
use std::fs;
use std::path::Path;

/// A run's table of products, of which it has timed some.
fn table(run: &Path) -> String {
    fs::read_to_string(run.join("products.csv")).unwrap()
}

fn by(table: &str, who: &str) -> usize {
    table.lines().filter(|line| line.contains(&format!(",{who},"))).count()
}

/// A run that times its products says so and keeps their table, sealed. With that table another run has the same bits, and
/// so has one that is stopped and goes on without being told of it.
#[test]
fn a_run_keeps_who_computed_its_products_and_others_are_held_to_it() {
    let Some(standin) = Standin::new().and_then(|standin| standin.with_products()) else { return };
    let folder = scratch(&ring(512, ""));
    let at = folder.path();
    standin.with("CM_PRODUCTS", "timed:0").succeed(at, &["run", "study.ron", "--out", "timed"]);
    let run = at.join("timed/study/base/seed-0");
    let timed = table(&run);
    assert!(
        timed.starts_with("# host fibers; compute capability 9.0; cuBLASLt 13.1; cuDNN 9.10\n"),
        "{timed}"
    );
    assert!(by(&timed, "cuBLASLt") + by(&timed, "ours") > 3, "{timed}");
    let provenance = fs::read_to_string(run.join("provenance.ron")).unwrap();
    assert!(provenance.contains("F32, products timed (cuBLASLt 13.1; cuDNN 9.10)\""), "{provenance}");
    let manifest = fs::read_to_string(run.join("manifest.json")).unwrap();
    assert!(manifest.contains("products.csv"), "{manifest}");
    // Every product by the library, whatever was faster here: two runs by one table have the same bits.
    let plan = "616c676f72697468-1-0-0-0-0-0-6";
    let fixed: String = timed
        .lines()
        .map(|line| {
            let mut fields: Vec<&str> = line.split(',').collect();
            if fields.len() == 6 && !line.starts_with("product,") {
                (fields[1], fields[5]) = ("cuBLASLt", plan);
            }
            fields.join(",") + "\n"
        })
        .collect();
    fs::write(at.join("fixed.csv"), &fixed).unwrap();
    let given = standin.with("CM_PRODUCTS", at.join("fixed.csv").display());
    given.succeed(at, &["run", "study.ron", "--out", "whole"]);
    let whole = results(&at.join("whole/study"));
    let kept = table(&at.join("whole/study/base/seed-0"));
    assert_eq!(by(&kept, "cuBLASLt"), by(&fixed, "cuBLASLt"), "{kept}");
    assert!(by(&kept, "ours") == 0 && !kept.contains("note"), "{kept}");
    let mut command = given.command(at, &["run", "study.ron", "--out", "stopped"]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    super::endings::has_begun(&at.join("stopped/study/base/seed-0"), &mut child);
    let kill = std::process::Command::new("kill").args(["-KILL", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    child.wait().unwrap();
    // A table that was changed by hand is told, and nothing goes on by it.
    let left = at.join("stopped/study/base/seed-0/products.csv");
    let table = fs::read(&left).unwrap();
    fs::write(&left, "something else").unwrap();
    let (code, told) = standin.run(at, &["resume", "stopped/study"]);
    assert!(code == Some(2) && told.contains("products.csv") && told.contains("line 1 of a table"), "{told}");
    fs::write(&left, table).unwrap();
    standin.succeed(at, &["resume", "stopped/study"]);
    assert_same(&whole, &results(&at.join("stopped/study")), "resumed without the variable");
}

/// Without the libraries all is ours, to the bit, and the table says what was looked for.
#[test]
fn what_is_not_found_is_said_and_ours_compute() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(&ring(64, ""));
    let at = folder.path();
    standin.succeed(at, &["run", "study.ron", "--out", "ours"]);
    standin.with("CM_PRODUCTS", "timed:0").succeed(at, &["run", "study.ron", "--out", "timed"]);
    let told = table(&at.join("timed/study/base/seed-0"));
    assert!(told.starts_with("# host fibers; compute capability 9.0; no cuBLASLt; no cuDNN\n"), "{told}");
    for (library, name) in [("cuBLASLt", "libcublasLt.so"), ("cuDNN", "libcudnn.so")] {
        let note = format!("# note: {library}, looking for it: not found: looked for {name}, ");
        assert!(told.contains(&note), "{told}");
    }
    let scores = |out: &str| fs::read(at.join(out).join("study/base/seed-0/scores.csv")).unwrap();
    assert_eq!(scores("timed"), scores("ours"));
    assert!(!at.join("ours/study/base/seed-0/products.csv").exists());
}

/// Gradients of two GPUs meet by NCCL, to the bits of one GPU with as many shards; where it is not wanted, cannot invite or
/// join, through their hosts, to the same bits.
#[test]
fn gradients_of_several_gpus_meet_by_nccl_or_by_their_hosts() {
    let Some(standin) = Standin::new().and_then(|standin| standin.with_products()) else { return };
    let folder = scratch(&ring(256, ""));
    let at = folder.path();
    let shards = ["--set", "base.consistency.train.shards=2"];
    standin.succeed(at, &[&["run", "study.ron", "--out", "one"][..], &shards].concat());
    let one = results(&at.join("one/study"));
    let two = standin.with("STANDIN_DEVICES", 2);
    for (out, variable, value) in [
        ("nccl", "CM_NCCL", "on"),
        ("off", "CM_NCCL", "off"),
        ("alone", "STANDIN_NCCL", "no invitation"),
        ("apart", "STANDIN_NCCL", "nobody joins"),
    ] {
        let log = at.join(format!("{out}.log"));
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cm"));
        command.current_dir(at).args(["run", "study.ron", "--out", out, "--devices", "0,1"]).args(shards);
        two.with(variable, value).with("STANDIN_NCCL_LOG", log.display()).equip(&mut command, at);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{out}: {}", String::from_utf8_lossy(&output.stderr));
        assert_same(&one, &results(&at.join(out).join("study")), out);
        let log = fs::read_to_string(log).unwrap_or_default();
        let counts = ["invited\n", "joined\n", "gathered\n"].map(|what| log.matches(what).count());
        // One place to meet, two that come, all gradients of all steps.
        let expected = match out {
            "nccl" => counts[..2] == [1, 2] && counts[2] > 20,
            "apart" => counts == [1, 0, 0],
            _ => counts == [0, 0, 0],
        };
        assert!(expected, "{out}: {counts:?}");
    }
}

#[test]
fn a_wrong_choice_of_products_is_wrong_input() {
    let Some(standin) = Standin::new() else { return };
    let folder = scratch(&ring(64, ""));
    let at = folder.path();
    fs::write(at.join("other.csv"), "# another card\nproduct,who,ours_us,theirs_us,differs_by,plan\n")
        .unwrap();
    fs::write(at.join("none.csv"), "a,b\n").unwrap();
    for (products, told) in [
        ("fastest", "CM_PRODUCTS is `fastest`: no such file can be read ("),
        (
            "other.csv",
            "CM_PRODUCTS is `other.csv`: the table of products is of `another card`, and here is `",
        ),
        ("none.csv", "CM_PRODUCTS is `none.csv`: line 1 of a table of products: it begins with"),
    ] {
        let (code, output) = standin.with("CM_PRODUCTS", products).run(at, &["run", "study.ron"]);
        assert!(code == Some(2) && output.contains(told), "{code:?} {output}");
    }
    let several = standin.with("STANDIN_DEVICES", 2).with("CM_PRODUCTS", "timed");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cm"));
    command.current_dir(at).args(["run", "study.ron", "--devices", "0,1"]);
    several.equip(&mut command, at);
    let output = command.output().unwrap();
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.contains("CM_PRODUCTS is `timed`: each of several processes would choose"), "{output}");
}
