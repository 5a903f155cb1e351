//! How many images of CIFAR-10's size a second are streamed from the prepared form, in the order of training, by one
//! thread; beside them the shipped digits, which need no reading: `cargo bench -p cm-datasets`.

use cm_datasets::prepared::{PrepareOptions, prepare};
use cm_datasets::{Digits, Loader, Prepared, SourceConfig, Split};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::fs;
use std::path::Path;

const IMAGES: usize = 50_000;
const BATCH: usize = 128;

/// A file of MNIST's format with images of noise, 32x32 in colour.
fn noise(path: &Path) {
    let mut file = vec![0, 0, 8, 4];
    for length in [IMAGES, 32, 32, 3] {
        file.extend((length as u32).to_be_bytes());
    }
    file.extend((0..IMAGES * 3072).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]));
    fs::write(path, file).expect("the temporary folder can be written to");
}

fn stream(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (file, out) = (folder.path().join("noise-images-idx3-ubyte"), folder.path().join("noise"));
    noise(&file);
    let source = SourceConfig { path: file, held_out: Some(0), ..SourceConfig::default() };
    let options = PrepareOptions { source, out: out.clone(), ..PrepareOptions::default() };
    prepare(&options, &mut |_| ()).expect("noise can be prepared");
    let data = Prepared::open(&out, Split::Train).expect("what was written can be read");
    let mut group = c.benchmark_group("stream");
    group.throughput(Throughput::Elements(BATCH as u64));
    let plain = Loader::new(&data, BATCH, 0).expect("there are images");
    let digits = Digits::new(Split::Train).expect("the digits are in the program");
    let small = Loader::new(&digits, BATCH, 0).expect("there are images");
    for (name, loader) in
        [("prepared", plain), ("prepared-flipped", plain.with_horizontal_flips()), ("digits", small)]
    {
        let mut step = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                step += 1;
                loader.batch_at(step).expect("every image can be read")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stream);
criterion_main!(benches);
