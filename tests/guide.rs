//! The guide and README: their commands are run, their studies planned, their links followed.
//!
//! A block of `sh` is a list of commands. Behind the comment `by hand` stand those that want what a test has not: other
//! programs, downloads, hours; of them it is only seen that `cm` knows their words. Behind `file: NAME` stands a file that
//! a reader writes. Studies that take minutes are run shortened.

use crate::util::{cm, expect, golden, root};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A fenced block of a page.
struct Block {
    language: String,
    /// The comment before it.
    mark: Option<String>,
    text: String,
}

/// README and the pages of the guide.
fn pages() -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => below(&path, found),
                false => found.extend(path.extension().is_some_and(|name| name == "md").then_some(path)),
            }
        }
    }
    let mut found = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    below(&root().join("docs/src"), &mut found);
    found.sort();
    found
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut before) = (false, None);
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                let mark = before.take();
                blocks.push(Block { language: language.to_owned(), mark, text: String::new() });
                open = true;
            }
            None if open => {
                let text = &mut blocks.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            None => {
                let comment = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"));
                before = comment.map(str::to_owned);
            }
        }
    }
    assert!(!open, "a block is not closed");
    blocks
}

fn write_png(
    path: &Path,
    [width, height]: [u32; 2],
    colour: png::ColorType,
    pixel: impl Fn(u32, u32) -> Vec<u8>,
) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), width, height);
    encoder.set_color(colour);
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let pixels: Vec<u8> = places.flat_map(|(x, y)| pixel(x, y)).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// What a reader has before a page's first command: the studies of the repository, pictures of two kinds, a painted mask.
fn reader() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("experiments")).unwrap();
    for name in ["first.ron", "quickstart.ron", "smoke.ron"] {
        let study = Path::new("experiments").join(name);
        fs::copy(root().join(&study), folder.path().join(study)).unwrap();
    }
    for index in 0..40_u32 {
        let stripes = |x: u32, y: u32| vec![(x * 6 + index * 9) as u8, (y * 6) as u8, (index * 6) as u8];
        let discs = |x: u32, y: u32| match (x - 20).pow(2) + (y.abs_diff(18)).pow(2) < 40 + 5 * index {
            true => vec![200, (index * 6) as u8, 20],
            false => vec![20, 40, 80],
        };
        let of = |class: &str| folder.path().join(format!("pictures/{class}/{index}.png"));
        write_png(&of("cats"), [40, 36], png::ColorType::Rgb, stripes);
        write_png(&of("dogs"), [40, 36], png::ColorType::Rgb, |x, y| discs(x.max(20), y));
    }
    let mask = |_, y| vec![if y < 4 { 255 } else { 0 }];
    write_png(&folder.path().join("mask.png"), [8, 8], png::ColorType::Grayscale, mask);
    folder
}

/// What shortens a study that takes minutes.
const SHORTENED: [(&str, &[&str]); 4] = [
    ("experiments/smoke.ron", &["--set", "shortened_by=5"]),
    (
        "experiments/first.ron",
        &["--set", "shortened_by=400", "--set", "base.logging=(residual_images: None, grid: 1)"],
    ),
    (
        "experiments/quickstart.ron",
        &["--set", "shortened_by=800", "--set", "base.logging=(residual_images: None, grid: 1)"],
    ),
    (
        "pictures.ron",
        &[
            "--set",
            "shortened_by=5000",
            "--set",
            "base.logging.grid=1",
            "--set",
            "base.network=UNet(channels: 8, multipliers: [1, 2], blocks: 1)",
        ],
    ),
];

/// Commands that a test does not run: `scripts/check` does, or they are cargo's own.
const OF_THE_CHECK: [&str; 6] = [
    "cargo test",
    "cargo install --path crates/cm-cli --locked",
    "cargo clippy",
    "cargo fmt",
    "UPDATE_GOLDEN=1 cargo test",
    "scripts/check",
];

/// The arguments of `cm` in a line, if it is a line of `cm`.
fn arguments(line: &str) -> Option<Vec<String>> {
    let rest = line.strip_prefix("cm ").or_else(|| line.strip_prefix("cargo run --release -- "))?;
    Some(shlex::split(rest).expect("quotes that close"))
}

/// Runs a page's commands in turn; says how many they were.
fn follow(page: &Path) -> usize {
    let (folder, mut ran) = (reader(), 0);
    for block in blocks(&fs::read_to_string(page).unwrap()) {
        if let Some(name) = block.mark.as_deref().and_then(|mark| mark.strip_prefix("file: ")) {
            fs::write(folder.path().join(name), &block.text).unwrap();
            cm(folder.path()).args(["plan", name]).assert().success();
            ran += 1;
        }
        if block.language != "sh" {
            continue;
        }
        let by_hand = block.mark.as_deref() == Some("by hand");
        for line in block.text.lines() {
            let of_cm = arguments(line);
            if by_hand {
                let Some(mut arguments) = of_cm else { continue };
                if arguments[0] == "run" {
                    continue; // would train
                }
                let timed = arguments[0] == "bench" && arguments[1] != "parity";
                let listed = timed.then(|| "--list".to_owned());
                arguments.extend(listed);
                let output = cm(folder.path()).args(&arguments).output().unwrap();
                let told = String::from_utf8_lossy(&output.stderr);
                assert!(!told.contains("try '--help'"), "{}: {line}\n{told}", page.display());
                continue;
            }
            let Some(mut arguments) = of_cm else {
                let known = OF_THE_CHECK.iter().any(|known| line.starts_with(known));
                assert!(known, "{}: nothing runs `{line}`", page.display());
                continue;
            };
            if arguments[0] == "run" || arguments.starts_with(&["sweep".to_owned(), "plan".to_owned()]) {
                let long = SHORTENED.iter().find(|(study, _)| arguments.iter().any(|word| word == study));
                arguments.extend(long.iter().flat_map(|(_, more)| more.iter().map(ToString::to_string)));
            }
            // A quarter of the work.
            arguments.iter_mut().filter(|word| *word == "32").for_each(|word| *word = "16".to_owned());
            let output = cm(folder.path()).args(&arguments).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {line}\n{told}", page.display());
            ran += 1;
        }
    }
    ran
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    let ran: Vec<(PathBuf, usize)> = pages().into_iter().map(|page| (page.clone(), follow(&page))).collect();
    assert!(ran.iter().map(|(_, count)| count).sum::<usize>() > 40, "{ran:?}");
}

#[test]
fn every_link_of_the_guide_leads_somewhere() {
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("https://") {
                let target = page.parent().unwrap().join(link);
                assert!(target.exists(), "{}: {link}", page.display());
                followed += 1;
            }
        }
    }
    assert!(followed > 40, "{followed} links");
}

#[test]
fn every_page_of_the_guide_is_in_its_summary() {
    let folder = root().join("docs/src");
    let summary = fs::read_to_string(folder.join("SUMMARY.md")).unwrap();
    for page in pages() {
        if let Ok(name) = page.strip_prefix(&folder) {
            let name = name.to_str().unwrap();
            assert!(name == "SUMMARY.md" || summary.contains(&format!("({name})")), "{name}");
        }
    }
}

/// What `cm` says of itself and of each command below these, each as a section.
fn commands(below: &[&str], page: &mut String) {
    let (help, _) = expect(&root(), &[below, &["--help"]].concat(), 0);
    let title = [&["cm"], below].concat().join(" ");
    *page +=
        &format!("\n{} `{title}`\n\n```text\n{}\n```\n", "#".repeat(below.len().min(1) + 2), help.trim_end());
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        commands(&[below, &[name]].concat(), page);
    }
}

#[test]
fn the_reference_is_what_the_program_says_of_itself() {
    let (study, _) = expect(&root(), &["explain", "--markdown"], 0);
    golden("../../docs/src/reference/study.md", &study);
    let mut page =
        "# The commands\n\nMade from what `cm --help` and `cm COMMAND --help` print; not written by hand.\n"
            .to_owned();
    commands(&[], &mut page);
    golden("../../docs/src/reference/commands.md", &page);
}

#[test]
fn the_readme_stays_short() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 150, "{lines} lines: longer things belong in docs/");
}
