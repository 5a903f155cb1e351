//! `cm sample` and `cm edit` on a model of a second's training: what is known stays known, what is wrong is said.

use crate::util::{expect, golden, root, scratch};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

/// Height and width of the digits.
const SIDE: u32 = 8;

/// The smoke study's plainest arm and the one that knows classes, trained.
fn trained() -> tempfile::TempDir {
    let folder = scratch(&fs::read_to_string(root().join("experiments/smoke.ron")).unwrap());
    command(folder.path(), "run study.ron --out .", 0);
    folder
}

/// [`expect`] with arguments separated by spaces.
fn command(folder: &Path, arguments: &str, code: i32) -> (String, String) {
    expect(folder, &arguments.split_whitespace().collect::<Vec<_>>(), code)
}

pub(crate) fn write_grey(path: &Path, width: u32, height: u32, pixel: impl Fn(u32, u32) -> u8) {
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let pixels: Vec<u8> =
        (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| pixel(y, x)).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// Pixels of an 8-bit grey PNG, row by row, and its width and height.
fn read_grey(path: &Path) -> (Vec<u8>, u32, u32) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(
        (info.color_type, info.bit_depth),
        (png::ColorType::Grayscale, png::BitDepth::Eight),
        "{path:?}"
    );
    pixels.truncate(info.buffer_size());
    (pixels, info.width, info.height)
}

/// The arrays of an .npz whose members are not compressed: the header of each, and its bytes to the next.
fn arrays(npz: &[u8]) -> Vec<(String, &[u8])> {
    let starts: Vec<usize> =
        npz.windows(6).enumerate().filter(|(_, at)| at == b"\x93NUMPY").map(|(start, _)| start).collect();
    let array = |&start: &usize| {
        let header = usize::from(npz[start + 8]) + 256 * usize::from(npz[start + 9]);
        let text = String::from_utf8(npz[start + 10..start + 10 + header].to_vec()).unwrap();
        (text, &npz[start + 10 + header..])
    };
    starts.iter().map(array).collect()
}

#[test]
fn images_are_drawn_by_number_and_seed_whatever_the_batch() {
    let folder = trained();
    let sample = |more: &str, out: &str| {
        let (told, _) = command(folder.path(), &format!("sample {more} --out {out}"), 0);
        assert!(
            told.contains(&format!("{out}/samples.npz")) && told.contains(&format!("{out}/grid.png")),
            "{told}"
        );
        fs::read(folder.path().join(out).join("samples.npz")).unwrap()
    };
    let model = "study/cd/seed-0";
    let all = sample(&format!("{model} --count 23 --seed 5"), "all");
    assert!(
        all == sample(&format!("{model}/model.safetensors --count 23 --seed 5"), "again"),
        "the same bytes"
    );
    let few = sample(&format!("{model} --count 23 --seed 5 --batch 4"), "few");
    let pixels = |npz: &[u8]| -> Vec<u8> {
        let (header, bytes) = arrays(npz)[0].clone();
        assert!(header.contains("'|u1'") && header.contains("(23, 8, 8, 1,)"), "{header}");
        bytes[..23 * 64].to_vec()
    };
    let single = sample(&format!("{model} --count 23 --seed 5 --images"), "single");
    assert!(all == single, "the same bytes");
    for (index, pixels) in pixels(&all).chunks(64).enumerate() {
        let path = folder.path().join(format!("single/images/{index:06}.png"));
        assert_eq!(read_grey(&path), (pixels.to_vec(), SIDE, SIDE), "{path:?}");
    }
    let (_, told) = command(folder.path(), &format!("sample {model} --count 2 --images --out single"), 2);
    assert!(told.contains("single/images") && told.contains("it is there already"), "{told}");
    // Products of other sizes round differently: a pixel at the border between two values may take the other one.
    let (all, few) = (pixels(&all), pixels(&few));
    assert!(all.iter().zip(&few).all(|(a, b)| a.abs_diff(*b) <= 1));
    assert!(all.iter().zip(&few).filter(|(a, b)| a != b).count() <= all.len() / 100);
    assert_ne!(all, pixels(&sample(&format!("{model} --count 23 --seed 6"), "other")));
    assert_ne!(all, pixels(&sample(&format!("{model} --count 23 --seed 5 --times 2,0.5"), "times")));
    assert_ne!(all, pixels(&sample(&format!("{model} --count 23 --seed 5 --ema ema-power-0.1"), "ema")));

    // Classes are in the second array.
    let classes = sample("study/cd-classes/seed-0 --count 7 --class 3 --steps 2", "classes");
    let (header, bytes) = arrays(&classes)[1].clone();
    assert!(header.contains("'<i8'") && header.contains("(7,)"), "{header}");
    assert_eq!(&bytes[..56], [3, 0, 0, 0, 0, 0, 0, 0].repeat(7));
}

#[test]
fn several_models_share_a_sheet_with_a_row_for_each() {
    let folder = trained();
    let (cd, ct) = ("study/cd/seed-0", "study/ct/seed-0");
    let (told, _) = command(folder.path(), &format!("sample {cd} {ct} --count 5 --seed 5 --out both"), 0);
    for part in ["| 1   | study/cd/seed-0 | one-step |   1 |", "both/sheet.png", "both/sheet.json"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (sheet, width, height) = read_grey(&folder.path().join("both/sheet.png"));
    // Five columns of 8 pixels, each eight times as large, with lines between them that are as wide as a pixel.
    let (zoom, side) = (8, SIDE);
    assert_eq!((width, height), (5 * (side * zoom + zoom) + zoom, 2 * (side * zoom + zoom) + zoom));
    for (row, model) in [cd, ct].into_iter().enumerate() {
        let out = format!("single-{row}");
        command(folder.path(), &format!("sample {model} --count 5 --seed 5 --images --out {out}"), 0);
        for column in 0..5_u32 {
            let path = folder.path().join(&out).join(format!("images/{column:06}.png"));
            let at = |x: u32, y: u32| {
                let left = zoom + column * (side * zoom + zoom) + x * zoom;
                let top = zoom + row as u32 * (side * zoom + zoom) + y * zoom;
                sheet[(top * width + left) as usize]
            };
            let shown: Vec<u8> =
                (0..side).flat_map(|y| (0..side).map(move |x| (x, y))).map(|(x, y)| at(x, y)).collect();
            assert_eq!(read_grey(&path).0, shown, "{path:?}");
        }
    }
    let text = fs::read_to_string(folder.path().join("both/sheet.json")).unwrap();
    let text: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&text["seed"], text["seeds"].as_array().unwrap().len()), (&5.into(), 5));
    assert_eq!(text["rows"][1]["path"], ct);
    assert_eq!(text["rows"][1]["card"]["model"], "ct/seed-0, weights ema-0.9");

    // One class for all columns, and what a sheet cannot have.
    let classes = "study/cd-classes/seed-0";
    command(folder.path(), &format!("sample {classes} {classes} --count 3 --class 7 --out sevens"), 0);
    let text = fs::read_to_string(folder.path().join("sevens/sheet.json")).unwrap();
    let text: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text["rows"][0]["classes"], serde_json::json!([7, 7, 7]));
    let (_, told) = command(folder.path(), &format!("sample {cd} {ct} --count 500 --images --out x"), 2);
    assert!(told.contains("1 to 256") && told.contains("--images"), "{told}");
    let (_, told) = command(folder.path(), &format!("sample {cd} nowhere --out x"), 2);
    assert!(told.contains("nowhere"), "{told}");
    assert!(!folder.path().join("x").exists());
}

#[test]
fn edits_keep_what_is_known() {
    let folder = trained();
    let at = |name: &str| folder.path().join(name);
    let digit = |y: u32, x: u32| (y * 31 + x * 3) as u8;
    write_grey(&at("digit.png"), SIDE, SIDE, digit);
    write_grey(&at("mask.png"), SIDE, SIDE, |y, _| if y < 3 { 255 } else { 0 });
    write_grey(&at("small.png"), SIDE / 2, SIDE / 2, |y, x| (40 * y + 20 * x + 30) as u8);
    let edit = |task: &str, more: &str, out: &str| {
        let (told, _) =
            command(folder.path(), &format!("edit {task} --model study/cd/seed-0 {more} --out {out}"), 0);
        assert!(
            told.contains(&format!("{out}/edited.png")) && told.contains(&format!("{out}/before-after.png"))
        );
        let (_, width, height) = read_grey(&at(out).join("before-after.png"));
        assert!(width > height && height >= 64, "{task}: {width} x {height} is too small to look at");
        read_grey(&at(out).join("edited.png"))
    };
    let (inpainted, width, height) =
        edit("inpaint", "--image digit.png --mask mask.png --times 3,1,0.2", "inpainted");
    assert_eq!((width, height), (SIDE, SIDE));
    let known: Vec<u8> = (0..3).flat_map(|y| (0..SIDE).map(move |x| digit(y, x))).collect();
    assert_eq!(inpainted[..known.len()], known);
    let missing: Vec<u8> = (3..SIDE).flat_map(|y| (0..SIDE).map(move |x| digit(y, x))).collect();
    assert_ne!(inpainted[known.len()..], missing, "the rest is the model's");

    let (large, width, height) = edit("super-resolve", "--image small.png --factor 2 --clip no", "large");
    assert_eq!((width, height), (SIDE, SIDE));
    let (small, ..) = read_grey(&at("small.png"));
    for (block, value) in small.iter().enumerate() {
        let (y, x) = (block / 4 * 2, block % 4 * 2);
        let pixels = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| large[(y + dy) * 8 + x + dx]);
        // What is brighter than white or darker than black cannot be written.
        if pixels.iter().all(|pixel| (1..255).contains(pixel)) {
            let mean = pixels.iter().map(|&pixel| f32::from(pixel)).sum::<f32>() / 4.0;
            assert!((mean - f32::from(*value)).abs() <= 0.5, "block {block}: {mean} for {value}");
        }
    }

    // With next to no noise, a painting and a noisy image stay what they are.
    let original: Vec<u8> = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| digit(y, x))).collect();
    let near = |(pixels, width, height): (Vec<u8>, u32, u32), tolerance: u8| {
        assert_eq!((width, height), (SIDE, SIDE));
        assert!(
            pixels.iter().zip(&original).all(|(a, b)| a.abs_diff(*b) <= tolerance),
            "{pixels:?}\n{original:?}"
        );
    };
    near(edit("stroke", "--image digit.png --times 0.002", "stroke"), 1);
    near(edit("denoise", "--image digit.png --sigma 0.002", "denoised"), 1);

    // The ends of a path are the samples of its seeds.
    let (path, width, height) = edit("interpolate", "--from-seed 4 --to-seed 9 --steps 5", "path");
    assert_eq!((width, height), (5 * SIDE, SIDE));
    for (seed, first) in [(4, 0), (9, 4 * 8)] {
        let out = format!("seed-{seed}");
        command(folder.path(), &format!("sample study/cd/seed-0 --count 1 --seed {seed} --out {out}"), 0);
        let npz = fs::read(at(&out).join("samples.npz")).unwrap();
        let end: Vec<u8> = (0..8).flat_map(|y| path[y * 40 + first..][..8].to_vec()).collect();
        let sample = &arrays(&npz)[0].1[..64];
        assert!(end.iter().zip(sample).all(|(a, b)| a.abs_diff(*b) <= 1), "{end:?}\n{sample:?}");
    }
}

#[test]
fn what_is_wrong_with_a_request_is_said_all_at_once() {
    let folder = trained();
    let at = |name: &str| folder.path().join(name);
    write_grey(&at("digit.png"), SIDE, SIDE, |y, x| (y * 8 + x) as u8);
    write_grey(&at("large.png"), 9, 12, |_, _| 0);
    fs::write(at("text.png"), "no picture").unwrap();
    let refusals = [
        ("sample nowhere --out out", "missing model"),
        ("sample study --out out", "a study is not a run"),
        (
            "sample study/cd/seed-0 --count 0 --batch 0 --steps 0 --ema best --class 1 --out out",
            "everything at once",
        ),
        ("sample study/cd-classes/seed-0 --class 10 --times 100,3,3,0.0001 --out out", "class and times"),
        (
            "edit inpaint --model study/cd/seed-0 --image large.png --mask text.png --times 5,9 --out out",
            "inpaint",
        ),
        ("edit inpaint --model study/cd/seed-0 --image digit.png --mask none.png --out out", "no mask"),
        ("edit super-resolve --model study/cd/seed-0 --image large.png --factor 3 --out out", "factor"),
        ("edit super-resolve --model study/cd/seed-0 --image large.png --factor 2 --out out", "small image"),
        ("edit colorize --model study/cd/seed-0 --image digit.png --out out", "grey model"),
        (
            "edit denoise --model study/cd-classes/seed-0 --image digit.png --sigma 90 --out out",
            "sigma and no class",
        ),
        ("edit stroke --model study/cd/seed-0 --image digit.png --start-sigma -1 --out out", "negative"),
        ("edit interpolate --model study/cd/seed-0 --steps 1 --out out", "one image"),
    ];
    let told: String = refusals
        .map(|(arguments, name)| {
            let (_, error) = command(folder.path(), arguments, 2);
            assert!(!at("out").exists(), "{name}: something was written");
            format!("# {name}\n$ cm {arguments}\n{error}\n")
        })
        .concat();
    golden("errors/models.txt", &told);
}

/// Models that jump from level to level are drawn in the numbers of steps that they know; commands for models that jump
/// to the end say so, and write nothing.
#[test]
fn models_that_jump_are_drawn_by_their_jumps_and_refused_by_what_jumps_to_the_end() {
    let more = "arms: Star([
        (name: \"progressive\", changes: [Method(ProgressiveDistillation), Curriculum(Halving(start: 4)),
            Target(StopGradient), Samplers([Jumps(steps: 2)])]),
        (name: \"shortcut\", changes: [Method(Shortcut()), Curriculum(Fixed(num_levels: 5)),
            Samplers([Jumps(steps: 2)])]),
        (name: \"segments\", changes: [Segments(2), Samplers([Jumps(steps: 2)])]),
    ])";
    let folder = scratch(&crate::util::ring(256, more));
    let path = folder.path();
    command(path, "run study.ron --out .", 0);
    write_grey(&path.join("points.png"), 2, 1, |_, _| 0);
    for (arm, what, steps) in [
        ("progressive", "a progressively distilled model", &[4, 2, 1][..]),
        ("shortcut", "a shortcut model", &[1, 2, 4]),
        ("segments", "a consistency model of several segments", &[2]),
    ] {
        let model = format!("study/{arm}/seed-0");
        let mut drawn = Vec::new();
        for steps in steps {
            let out = format!("{arm}-{steps}");
            let (told, _) =
                command(path, &format!("sample {model} --count 5 --batch 2 --steps {steps} --out {out}"), 0);
            assert!(told.contains(&format!("evaluations for each image: {steps}")), "{told}");
            // The images do not depend on the batch.
            command(path, &format!("sample {model} --count 5 --steps {steps} --out again"), 0);
            let bytes = |out: &str| fs::read(path.join(out).join("samples.npz")).unwrap();
            assert_eq!(bytes(&out), bytes("again"));
            assert!(!drawn.contains(&bytes(&out)), "{arm}: other images in {steps} steps");
            drawn.push(bytes(&out));
        }
        let listed: Vec<String> = steps.iter().map(|steps| format!("--steps {steps}")).collect();
        let listed = format!("allowed: {}", listed.join(", "));
        for (line, parts) in [
            (
                format!("sample {model} --steps 3 --out drawn"),
                ["is not trained for 3 steps", listed.as_str()],
            ),
            (format!("sample {model} --times 0.5 --out drawn"), ["--times", listed.as_str()]),
            (format!("search-times {model}"), [what, "jumps from noise level to noise level"]),
            (
                format!("edit denoise --model {model} --image points.png --sigma 1 --out drawn"),
                [what, "jumps"],
            ),
        ] {
            let (_, told) = command(path, &line, 2);
            assert!(parts.iter().all(|part| told.contains(part)), "{line}: {told}");
            assert!(!path.join("drawn").exists(), "{line}");
        }
    }
    // A file alone is the student of the last stage.
    let file = "study/progressive/seed-0/model.safetensors";
    command(path, &format!("sample {file} --count 5 --out alone"), 0);
    let bytes = |out: &str| fs::read(path.join(out).join("samples.npz")).unwrap();
    assert_eq!(bytes("alone"), bytes("progressive-1"));
    let (_, told) = command(path, &format!("sample {file} --steps 2 --out drawn"), 2);
    assert!(told.contains("allowed: --steps 1\n"), "{told}");
}
