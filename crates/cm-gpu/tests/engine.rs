use crate::check::values;
use crate::standin::standin;
use cm_gpu::compile::compiled;
use cm_gpu::source::{ACTIVATION, Source, Variant};
use cm_gpu::{Element, Gpu, GpuError, Options, devices, libraries};
use std::fs;

#[test]
fn what_is_found_is_said_with_its_version() {
    if standin().is_none() {
        return;
    }
    let found = libraries::search();
    assert_eq!(
        found.iter().map(|f| f.what).collect::<Vec<_>>(),
        ["driver", "NVRTC", "cuBLASLt", "cuDNN", "NCCL"]
    );
    let version = |i: usize| found[i].found.clone();
    assert_eq!(version(0), Some(("libcuda.so".to_owned(), Some("13.0".to_owned()))));
    assert_eq!(version(1), Some(("libnvrtc.so".to_owned(), Some("13.0".to_owned()))));
    let devices = devices().unwrap();
    let [device] = &devices[..] else { panic!("{devices:?}") };
    assert_eq!(
        (device.name.as_str(), device.capability, device.multiprocessors),
        ("host fibers", (9, 0), 132)
    );
    let error = Gpu::open(&Options { device: 3, ..Options::default() }).unwrap_err();
    assert_eq!(error.to_string(), "there is no GPU 3: the driver found 1");
}

#[test]
fn values_come_back_as_they_went() {
    let Some(standin) = standin() else { return };
    let gpu = standin.gpu();
    for len in [0, 1, 1000] {
        let x = values(len, 1);
        let buffer = gpu.upload(&x).unwrap();
        let copy = gpu.copied(&buffer).unwrap();
        assert_eq!(gpu.download::<f32>(&copy).unwrap(), x);
        assert_eq!(gpu.download::<u32>(&gpu.zeros(Element::U32, len).unwrap()).unwrap(), vec![0; len]);
    }
}

/// Copies land late, when something behind them is done: what is to be copied must not be overwritten before.
#[test]
fn many_values_on_their_way_arrive_as_they_were() {
    let Some(standin) = standin() else { return };
    for no_memory_to_lock in [false, true] {
        standin.fail_page_locked(no_memory_to_lock);
        let gpu = Gpu::open(&Options { cache: None, ..Options::default() }).unwrap();
        // Pieces of 4 MiB, of which there are sixteen: whole ones, a value more, and a small copy between.
        let sent: Vec<Vec<f32>> = (0..12)
            .map(|number| {
                let len = [1 << 20, (1 << 20) + 1, 3, (3 << 20) - 7][number % 4];
                (0..len).map(|i| (i * (number + 1)) as f32).collect()
            })
            .collect();
        standin.tally();
        let buffers: Vec<_> = sent.iter().map(|values| gpu.upload(values).unwrap()).collect();
        let tally = standin.tally();
        let bytes: usize = sent.iter().map(|values| 4 * values.len()).sum();
        assert_eq!((tally.waits, tally.bytes_to), (0, bytes as u64), "nothing waits for the stream");
        for (values, buffer) in sent.iter().zip(&buffers) {
            assert!(gpu.download::<f32>(buffer).unwrap() == *values, "{} values", values.len());
        }
        let mut first = buffers.into_iter().next().unwrap();
        gpu.overwrite(&mut first, &sent[0]).unwrap();
        let twice = gpu.scaled(&first, 2.0).unwrap();
        gpu.overwrite(&mut first, &vec![1.0_f32; 1 << 20]).unwrap();
        assert!(gpu.download::<f32>(&twice).unwrap().iter().zip(&sent[0]).all(|(a, b)| *a == 2.0 * b));
        assert!(gpu.download::<f32>(&first).unwrap().iter().all(|value| *value == 1.0));
    }
    standin.fail_page_locked(false);
}

#[test]
fn after_the_first_round_nothing_is_asked_of_the_driver() {
    let Some(standin) = standin() else { return };
    let gpu = Gpu::open(&Options { cache: None, ..Options::default() }).unwrap();
    let x = gpu.upload(&values(10_000, 1)).unwrap();
    let round = || {
        let y = gpu.silu(&x).unwrap();
        gpu.add(&x, &y, 0.5).unwrap()
    };
    let first = gpu.download::<f32>(&round()).unwrap();
    standin.tally();
    let second = gpu.download::<f32>(&round()).unwrap();
    let tally = standin.tally();
    assert_eq!((tally.allocations, tally.frees, tally.launches, tally.bytes_to), (0, 0, 2, 0));
    assert_eq!((first, tally.bytes_from), (second, 40_000));
    let memory = gpu.memory();
    assert_eq!((memory.held, memory.buffers, memory.peak), (40_000, 1, 120_000));
    assert!(memory.kept >= 80_000 && memory.taken >= memory.held + memory.kept);
    gpu.release_memory().unwrap();
    assert_eq!((gpu.memory().kept, standin.tally().frees), (0, 2));
    assert_eq!(gpu.memory().taken, 40_960, "of 40,000 bytes, rounded up");
}

/// Twenty activations and sums of `x`, the last of which is scaled by `scale`.
fn row(gpu: &Gpu, x: &cm_gpu::Buffer, scale: f32) -> Vec<f32> {
    let mut y = x.clone();
    for _ in 0..10 {
        y = gpu.add(&gpu.silu(&y).unwrap(), x, 0.5).unwrap();
    }
    gpu.download(&gpu.scaled(&y, scale).unwrap()).unwrap()
}

#[test]
fn a_row_of_launches_that_comes_again_is_one_call_and_says_the_same() {
    let Some(standin) = standin() else { return };
    let with = |graphs| Gpu::open(&Options { cache: None, graphs, ..Options::default() }).unwrap();
    let (by_one, by_rows) = (with(false), with(true));
    let x = values(1000, 3);
    let scales = [1.0, 1.0, 1.0, 2.0, 2.0, -0.5];
    let (at_one, at_rows) = (by_one.upload(&x).unwrap(), by_rows.upload(&x).unwrap());
    for (number, scale) in scales.into_iter().enumerate() {
        let expected = row(&by_one, &at_one, scale);
        let before = by_rows.work();
        standin.tally();
        let found = row(&by_rows, &at_rows, scale);
        let (tally, work) = (standin.tally(), by_rows.work() - before);
        assert!(found == expected, "the same bits, row {number}");
        // At its second coming the row is made a graph; only what differs is replaced.
        let (graphs, calls) = if number == 0 { (0, 21) } else { (1, 1) };
        let replaced = u64::from(matches!(number, 3 | 5));
        assert_eq!((tally.launches, tally.graphs), (21, graphs), "row {number}");
        assert_eq!((work.kernels, work.launches), (21, calls), "row {number}");
        // The first row found no memory that was kept: its second coming has addresses of its own.
        assert!(tally.replaced == replaced || number == 2, "row {number}: {} replaced", tally.replaced);
    }
    assert_eq!(by_one.work().launches, by_one.work().kernels);
}

#[test]
fn what_is_copied_or_waited_for_comes_behind_the_launches_before_it() {
    let Some(_) = standin() else { return };
    let gpu = Gpu::open(&Options { cache: None, ..Options::default() }).unwrap();
    for _ in 0..3 {
        let mut x = gpu.upload(&[1.0_f32, 2.0]).unwrap();
        let twice = gpu.scaled(&x, 2.0).unwrap();
        gpu.overwrite(&mut x, &[5.0_f32, 6.0]).unwrap();
        let copy = gpu.copied(&gpu.add(&x, &twice, 1.0).unwrap()).unwrap();
        // Its memory is the next one's.
        drop(gpu.scaled(&x, 3.0).unwrap());
        drop(gpu.zeros(Element::F32, 2).unwrap());
        assert_eq!(gpu.download::<f32>(&copy).unwrap(), [7.0, 10.0]);
        assert_eq!(gpu.download::<f32>(&twice).unwrap(), [2.0, 4.0]);
    }
}

#[test]
fn unwritten_memory_is_poisoned_where_that_is_wanted() {
    let Some(_) = standin() else { return };
    let gpu = Gpu::open(&Options { cache: None, poison: true, ..Options::default() }).unwrap();
    drop(gpu.upload(&[1.0_f32; 100]).unwrap());
    let unwritten = gpu.unwritten(Element::F32, 100).unwrap();
    assert!(gpu.download::<f32>(&unwritten).unwrap().iter().all(|value| value.is_nan()));
    assert_eq!(gpu.download::<f32>(&gpu.upload(&[1.0_f32; 3]).unwrap()).unwrap(), [1.0; 3]);
}

#[test]
fn each_allocation_in_turn_can_fail_and_nothing_is_lost() {
    let Some(standin) = standin() else { return };
    let gpu = standin.gpu();
    let x = gpu.upload(&values(3000, 1)).unwrap();
    let work = || -> Result<Vec<f32>, GpuError> {
        let y = gpu.silu(&x)?;
        let sum = gpu.add(&x, &y, 1.0)?;
        let narrow = gpu.converted(&sum, Element::Bf16)?;
        gpu.download(&gpu.converted(&narrow, Element::F32)?)
    };
    let expected = work().unwrap();
    let before = gpu.memory();
    // Work asks four times, and the engine asks once more before it gives up.
    for number in 0..=4 {
        standin.fail_allocations(number, 2);
        let result = work();
        standin.fail_allocations(0, 0);
        match result {
            Err(GpuError::OutOfMemory { wanted, buffers, .. }) => {
                assert_eq!((wanted, buffers), (if number == 2 { 6000 } else { 12_000 }, number + 1));
            }
            Ok(result) => assert!(number == 4 && result == expected),
            Err(error) => panic!("{error}"),
        }
        assert_eq!((gpu.memory().held, gpu.memory().buffers), (before.held, before.buffers));
        assert_eq!(work().unwrap(), expected);
    }
}

#[test]
fn a_refusal_is_answered_by_giving_back_what_is_kept() {
    let Some(standin) = standin() else { return };
    let gpu = Gpu::open(&Options { cache: None, ..Options::default() }).unwrap();
    drop(gpu.upload(&values(5000, 1)).unwrap());
    assert!(gpu.memory().kept >= 20_000);
    standin.tally();
    standin.fail_allocations(0, 1);
    let x = gpu.upload(&values(70_000, 1)).unwrap();
    assert_eq!((gpu.memory().kept, standin.tally().frees), (0, 1));
    assert_eq!(gpu.download::<f32>(&x).unwrap(), values(70_000, 1));
}

#[test]
fn out_of_memory_says_how_much_was_wanted_and_held() {
    let Some(standin) = standin() else { return };
    // A limit of its own: other tests allocate at the same time, so it lies far above and far below theirs.
    let gpu = standin.gpu();
    let held = gpu.upload(&[1.0_f32; 500]).unwrap();
    standin.memory(1 << 34);
    let error = gpu.unwritten(Element::F32, 1 << 33).unwrap_err();
    standin.memory(1 << 36);
    let GpuError::OutOfMemory { wanted, held: bytes, buffers, free, total } = error else {
        panic!("{error}")
    };
    assert_eq!((wanted, bytes, buffers, total), (1 << 35, 2000, 1, 1 << 34));
    assert!(free < 1 << 34);
    assert_eq!(gpu.download::<f32>(&held).unwrap(), [1.0; 500], "what was there is still there");
}

#[test]
fn kernels_are_compiled_once_for_a_machine() {
    let Some(standin) = standin() else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache: Some(folder.path().join("kernels")), ..Options::default() };
    let compiled_before = standin.compilations();
    for _ in 0..2 {
        let gpu = Gpu::open(&options).unwrap();
        let x = gpu.upload(&[0.0_f32; 5]).unwrap();
        gpu.silu(&x).unwrap();
        gpu.relu(&x).unwrap();
    }
    assert_eq!(standin.compilations() - compiled_before, 1);
    let files: Vec<_> = fs::read_dir(folder.path().join("kernels")).unwrap().collect();
    assert_eq!(files.len(), 1);
    // A damaged file is made again.
    fs::write(files[0].as_ref().unwrap().path(), b"half of").unwrap();
    let gpu = Gpu::open(&options).unwrap();
    gpu.relu(&gpu.upload(&[0.0_f32; 5]).unwrap()).unwrap();
    assert_eq!(standin.compilations() - compiled_before, 2);
}

#[test]
fn what_the_compiler_refuses_is_said_with_its_words() {
    if standin().is_none() {
        return;
    }
    let source = Source { text: "#error this is wrong\n", ..ACTIVATION };
    let error = compiled(&source, Variant::F32, (9, 0), None).unwrap_err();
    let text = "NVRTC did not compile activation.cu for sm_90: activation.cu: #error this is wrong";
    assert_eq!(error.to_string(), text);
    let image = compiled(&ACTIVATION, Variant::Bf16, (10, 3), None).unwrap();
    let image = String::from_utf8_lossy(&image).into_owned();
    assert!(image.contains("--gpu-architecture=compute_90") && image.contains("-DSTORAGE_BF16"), "{image}");
}

#[test]
#[should_panic(expected = "argument 2 of the kernel add")]
fn a_buffer_of_another_type_is_refused() {
    let Some(standin) = standin() else { panic!("argument 2 of the kernel add: not run") };
    let gpu = standin.gpu();
    let (a, b) = (gpu.upload(&[1.0_f32; 4]).unwrap(), gpu.upload(&[1_u16; 4]).unwrap());
    let _ = gpu.add(&a, &b, 1.0);
}

#[test]
#[should_panic(expected = "a buffer that others hold as well")]
fn a_shared_buffer_is_not_written_to() {
    let Some(standin) = standin() else { panic!("a buffer that others hold as well: not run") };
    let gpu = standin.gpu();
    let mut a = gpu.upload(&[1.0_f32; 4]).unwrap();
    let shared = a.clone();
    let _ = gpu.add_assign(&mut a, &shared);
}
