//! Fields set from the command line, and sweeps: the same results whoever does the tasks.

use crate::util::{expect, ring, scratch};
use std::fs::{self, File};

const ARMS: &str = "seeds: [0, 1], arms: Star([(name: \"l1\", changes: [Distance(L1)]), (name: \"l2\", changes: [Distance(L2)])]),";

#[test]
fn fields_are_set_and_wrong_values_are_found_at_their_place() {
    let folder = scratch(&ring(320, ""));
    let set = "base.consistency.train.total_images=64";
    let (plan, _) = expect(folder.path(), &["plan", "study.ron", "--set", set], 0);
    assert!(plan.contains("64 images in 2 steps"), "{plan}");
    let (_, told) = expect(folder.path(), &["plan", "study.ron", "--set", "base.network.width=0"], 2);
    assert!(told.contains("study.ron with --set base.network.width=0:5:"), "{told}");
    let (_, told) = expect(folder.path(), &["plan", "study.ron", "--set", "base.network.widht=8"], 2);
    assert!(told.contains("did you mean `width`?"), "{told}");
    expect(folder.path(), &["plan", "study.ron", "--set", "base"], 2);
}

#[test]
fn a_sweep_leaves_the_report_of_the_study_run_at_once() {
    let folder = scratch(&ring(320, ARMS));
    expect(folder.path(), &["run", "study.ron", "--out", "at-once"], 0);
    let (planned, _) = expect(folder.path(), &["sweep", "plan", "study.ron"], 0);
    assert!(planned.contains("sweeps/study: 5 tasks"), "{planned}");
    let (_, told) = expect(folder.path(), &["sweep", "collect", "sweeps/study"], 1);
    assert!(told.contains("5 pending"), "{told}");
    expect(folder.path(), &["sweep", "run", "sweeps/study", "--task", "2"], 0);
    let (again, _) = expect(folder.path(), &["sweep", "run", "sweeps/study", "--task", "2"], 0);
    assert!(again.contains("was done before"), "{again}");
    expect(folder.path(), &["sweep", "run", "sweeps/study", "--task", "5"], 2);
    let (done, _) = expect(folder.path(), &["sweep", "run", "sweeps/study", "--jobs", "2"], 0);
    assert!(done.contains("4 tasks done, 1 done before"), "{done}");
    expect(folder.path(), &["sweep", "collect", "sweeps/study"], 0);
    for file in ["report.csv", "report.md", "l1/seed-1/metrics.jsonl"] {
        let [one, two] = ["at-once", "sweeps"].map(|out| folder.path().join(out).join("study").join(file));
        assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "{file} differs");
    }
}

#[test]
fn a_grid_has_an_arm_for_each_combination() {
    let folder = scratch(&ring(64, ARMS));
    let grid = ["--grid", "base.consistency.train.batch=[16, 32]", "--name", "batch"];
    let arguments = [&["sweep", "plan", "study.ron", "--set", "seeds=[0]"][..], &grid].concat();
    let (planned, _) = expect(folder.path(), &arguments, 0);
    for name in ["l1_batch-16/seed-0", "l2_batch-16/seed-0", "l1_batch-32/seed-0", "l2_batch-32/seed-0"] {
        assert!(planned.contains(name), "{planned}");
    }
    // The same again changes nothing; another one does not go into the same folder.
    expect(folder.path(), &arguments, 0);
    expect(folder.path(), &["sweep", "plan", "study.ron", "--name", "batch"], 2);
    let twins =
        ["sweep", "plan", "study.ron", "--grid", "base.consistency.distance=[L1, L2]", "--name", "twins"];
    let (_, told) = expect(folder.path(), &twins, 2);
    assert!(told.contains("are the same experiment"), "{told}");
}

#[test]
fn the_page_of_a_grid_has_its_axes() {
    let folder = scratch(&ring(64, ""));
    let batch = "base.consistency.train.batch=[16, 32]";
    let page_of = |name: &str, grids: &[&str]| {
        let grids = grids.iter().flat_map(|grid| ["--grid", grid]);
        let plan = ["sweep", "plan", "study.ron", "--name", name].into_iter().chain(grids);
        expect(folder.path(), &plan.collect::<Vec<_>>(), 0);
        let sweep = format!("sweeps/{name}");
        expect(folder.path(), &["sweep", "run", &sweep], 0);
        let (told, _) = expect(folder.path(), &["sweep", "collect", &sweep], 0);
        assert!(told.contains(&format!("report: {sweep}/report.html")), "{told}");
        fs::read_to_string(folder.path().join(sweep).join("report.html")).unwrap()
    };
    let one = page_of("one", &[batch]);
    let two = page_of("two", &[batch, "base.consistency.distance=[L1, PseudoHuber(c: 0.03)]"]);
    for (page, part) in [
        (&one, "base.consistency.train.batch over 16, 32"),
        (&one, "<td data-label=\"batch\">32</td>"),
        (&one, "<figure id=\"axis-"),
        (&two, "<td data-label=\"distance\">PseudoHuber(c: 0.03)</td>"),
        (&two, "Down: base.consistency.train.batch; across: base.consistency.distance"),
        (&two, "<figure class=\"heat\""),
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!one.contains("<figure class=\"heat\"") && !two.contains("<figure id=\"axis-"));
    // No name of an arm is cut.
    assert!(two.contains("PseudoHuber-c-0.03") && !two.contains('…'));
}

#[test]
fn a_task_that_fails_is_tried_again_and_reported_and_can_be_done_later() {
    let folder = scratch(&ring(64, "seeds: [0, 1],"));
    expect(folder.path(), &["sweep", "plan", "study.ron"], 0);
    // A file where the run's folder should be.
    let sweep = folder.path().join("sweeps/study");
    fs::create_dir_all(sweep.join("base")).unwrap();
    fs::write(sweep.join("base/seed-1"), "").unwrap();
    let (_, told) = expect(folder.path(), &["sweep", "run", "sweeps/study", "--retries", "1"], 1);
    assert!(told.contains("it is tried again") && told.contains("task 2 (base/seed-1): "), "{told}");
    let (status, _) = expect(folder.path(), &["sweep", "status", "sweeps/study"], 0);
    assert!(status.contains("2 finished, 1 failed, of 3 tasks"), "{status}");
    fs::remove_file(sweep.join("base/seed-1")).unwrap();
    expect(folder.path(), &["sweep", "run", "sweeps/study"], 0);
    expect(folder.path(), &["sweep", "collect", "sweeps/study"], 0);
}

#[test]
fn a_task_is_done_by_one_process() {
    let folder = scratch(&ring(64, ""));
    expect(folder.path(), &["sweep", "plan", "study.ron"], 0);
    let lock = File::create(folder.path().join("sweeps/study/tasks/0001.lock")).unwrap();
    lock.try_lock().unwrap();
    let (_, told) = expect(folder.path(), &["sweep", "run", "sweeps/study", "--task", "1"], 2);
    assert!(told.contains("another process"), "{told}");
    let (status, _) = expect(folder.path(), &["sweep", "status", "sweeps/study"], 0);
    assert!(status.contains("1 running, 1 pending"), "{status}");
}

#[test]
fn engines_are_given_what_they_need() {
    let folder = scratch(&ring(64, ARMS));
    expect(folder.path(), &["sweep", "plan", "study.ron"], 0);
    let engine = |name: &str| {
        let arguments = ["sweep", "run", "sweeps/study", "--dry-run", "--jobs", "2", "--engine", name];
        expect(folder.path(), &arguments, 0).0
    };
    assert!(engine("slurm").contains("--array=0-4%2"));
    let script = fs::read_to_string(folder.path().join("sweeps/study/slurm.sh")).unwrap();
    assert!(
        script.contains("#SBATCH --requeue") && script.contains("--task \"$SLURM_ARRAY_TASK_ID\""),
        "{script}"
    );
    engine("kubernetes");
    assert!(folder.path().join("sweeps/study/kubernetes.yaml").is_file());
    assert!(engine("parallel").contains("::: {0..4}"));
}
