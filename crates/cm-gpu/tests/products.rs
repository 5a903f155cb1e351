//! Products by stand-ins for cuBLASLt and cuDNN: who is chosen, on what grounds, and what goes wrong. Which is faster here
//! says nothing of a card; what is tested is that time, agreement and tables decide.

use crate::check::{PRECISIONS, assert_close, drawn, put, taken, tolerance, values};
use crate::standin::{Standin, standin};
use cm_gpu::conv2d::{Conv2dShape, Epilogue, Precision};
use cm_gpu::standin::{Products, Wrong, products};
use cm_gpu::{Buffer, Choosing, Gpu, GpuError, Options};

/// Both stand-ins; nothing goes wrong at first.
fn standins() -> Option<(&'static Standin, &'static Products)> {
    let (standin, products) = (standin()?, products()?);
    products.wrong(0);
    products.computed();
    Some((standin, products))
}

/// An engine that times every product.
fn timing() -> Gpu {
    let products = Choosing::Timed { least_operations: 0 };
    Gpu::open(&Options { cache: None, reuse: false, products, ..Options::default() }).unwrap()
}

/// A matrix product, and a convolution with strides and padding that differ; so small that the stand-ins' loop nests are
/// faster than the kernels' fibers by far.
fn shapes() -> [Conv2dShape; 2] {
    let image = Conv2dShape {
        batch: 2,
        height: 4,
        width: 3,
        in_channels: 5,
        out_channels: 7,
        kernel: [3, 1],
        stride: 2,
        padding: [1, 0],
    };
    [Conv2dShape { kernel: [1, 1], stride: 1, padding: [0; 2], ..image }, image]
}

/// All that can be done with a convolution.
fn all(gpu: &Gpu, precision: Precision, shape: &Conv2dShape) -> Result<Vec<Vec<f32>>, GpuError> {
    let element = precision.element();
    let put = |len, seed| put(gpu, element, &drawn(element, len, seed));
    let (x, weight, g) = (put(shape.input_len(), 1), put(shape.weight_len(), 2), put(shape.output_len(), 3));
    let image_bias = put(shape.batch * shape.out_channels, 4);
    let bias = gpu.upload(&values(shape.out_channels, 5))?;
    let whole = Epilogue {
        bias: Some(&bias),
        image_bias: Some(&image_bias),
        residual: Some(&g),
        scale: 0.5,
        relu: true,
    };
    let results: Vec<Buffer> = vec![
        gpu.conv2d(precision, shape, &x, &weight, Epilogue::default())?,
        gpu.conv2d(precision, shape, &x, &weight, Epilogue { scale: 1.5, ..Epilogue::default() })?,
        gpu.conv2d(precision, shape, &x, &weight, whole)?,
        gpu.conv2d_backward_data(precision, shape, &weight, &g, 1.0)?,
        gpu.conv2d_backward_data(precision, shape, &weight, &g, 0.25)?,
        gpu.conv2d_backward_weight(precision, shape, &x, &g, 2.0)?,
    ];
    results.iter().map(|result| taken(gpu, result)).collect()
}

/// The lines of a table without its first ones.
fn lines(table: &str) -> Vec<&str> {
    table.lines().skip_while(|line| !line.starts_with("product,")).skip(1).collect()
}

#[test]
fn what_libraries_compute_is_what_ours_compute() {
    let Some((standin, products)) = standins() else { return };
    for precision in PRECISIONS {
        for (shape, library) in shapes().iter().zip([0, 1]) {
            let ours = all(&standin.gpu(), precision, shape).unwrap();
            assert_eq!(products.computed(), [0, 0]);
            let gpu = timing();
            let theirs = all(&gpu, precision, shape).unwrap();
            let counts = products.computed();
            // Each of five products was tried and then computed, and a pass with an epilogue is its own.
            assert!(counts[library] >= 6 && counts[1 - library] == 0, "{counts:?}");
            for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                // tf32 is emulated by ours only.
                let off = if precision == Precision::Tf32 {
                    4e-3
                } else {
                    2.0 * tolerance(precision.element(), 2e-5)
                };
                assert_close(theirs, ours, off, &(precision, shape, i));
            }
            let table = gpu.products_table().unwrap();
            assert_eq!(lines(&table).len(), 5, "{table}");
            let name = ["cuBLASLt", "cuDNN"][library];
            assert!(lines(&table).iter().all(|line| line.contains(&format!(",{name},"))), "{table}");
            assert!(!table.contains("note"), "{table}");
            let first = "# host fibers; compute capability 9.0; cuBLASLt 13.1; cuDNN 9.10\n";
            assert!(table.starts_with(first), "{table}");
            // Once chosen, nothing is tried again.
            all(&gpu, precision, shape).unwrap();
            let mut again = [0, 0];
            again[library] = 6;
            assert_eq!(products.computed(), again);
        }
    }
}

#[test]
fn each_thing_that_goes_wrong_leaves_a_product_to_ours_and_is_noted() {
    let Some((standin, products)) = standins() else { return };
    for (shape, name) in shapes().iter().zip(["cuBLASLt", "cuDNN"]) {
        let ours = all(&standin.gpu(), Precision::F32, shape).unwrap();
        for (wrong, notes, told) in [
            (Wrong::NO_START, 2, "its start: "),
            (Wrong::NO_PLANS, 5, "has no plan for "),
            (Wrong::WRONG, 10, "it differs from ours by "),
            (Wrong::WRITES_NOTHING, 10, "it differs from ours by NaN"),
            (Wrong::FAILS, 5, "computing "),
            (Wrong::SLOW, 0, ""),
        ] {
            products.wrong(wrong);
            let gpu = timing();
            let theirs = all(&gpu, Precision::F32, shape).unwrap();
            let table = gpu.products_table().unwrap();
            products.wrong(0);
            assert!(theirs == ours, "{wrong}: ours to the bit");
            let noted: Vec<&str> = table.lines().filter(|line| line.starts_with("# note: ")).collect();
            assert_eq!(noted.len(), notes, "{wrong}: {table}");
            assert!(
                noted.iter().all(|note| note.contains(told) && note.contains(name) || notes == 2),
                "{table}"
            );
            assert!(lines(&table).iter().all(|line| line.contains(",ours,")), "{table}");
        }
    }
}

#[test]
fn a_plan_whose_workspace_is_too_large_is_not_taken() {
    let Some((_, products)) = standins() else { return };
    let plan = |wrong| {
        products.wrong(wrong);
        let gpu = timing();
        all(&gpu, Precision::F32, &shapes()[1]).unwrap();
        products.wrong(0);
        let table = gpu.products_table().unwrap();
        lines(&table).iter().map(|line| line.rsplit_once(',').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert!(plan(Wrong::NO_WORKSPACE).iter().all(|plan| plan == "engine 14"));
    let any = plan(0);
    assert!(any.iter().all(|plan| ["engine 13 4=1 5=11", "engine 14"].contains(&plan.as_str())), "{any:?}");
}

#[test]
fn a_table_fixes_who_computes_in_other_engines_and_its_plans_are_checked_again() {
    let Some((standin, products)) = standins() else { return };
    let gpu = timing();
    let shapes = shapes();
    let each = |gpu: &Gpu| shapes.each_ref().map(|shape| all(gpu, Precision::Bf16, shape).unwrap());
    let theirs = each(&gpu);
    let table = gpu.products_table().unwrap();
    products.computed();
    let fixed = standin.gpu();
    fixed.fix_products(&table).unwrap();
    assert_eq!(fixed.products_described().as_deref(), Some("products by a table"));
    assert_eq!(each(&fixed), theirs, "the same bits");
    // Six of each, and each of five was held against ours once.
    assert_eq!(products.computed(), [11, 11]);
    assert_eq!(fixed.products_table().unwrap(), table);
    // What a table does not name is ours.
    let smaller = Conv2dShape { batch: 1, ..shapes[0] };
    let ours = all(&standin.gpu(), Precision::Bf16, &smaller).unwrap();
    assert!(all(&fixed, Precision::Bf16, &smaller).unwrap() == ours && products.computed() == [0, 0]);
    // A plan that no longer agrees is not used, whatever the table says; nor is one that the library does not know.
    let ours = each(&standin.gpu());
    products.wrong(Wrong::WRONG);
    let wary = standin.gpu();
    wary.fix_products(&table).unwrap();
    assert!(each(&wary) == ours);
    products.wrong(0);
    let told = wary.products_table().unwrap();
    assert_eq!(told.matches("it differs from ours by ").count(), 10, "{told}");
    let unknown = standin.gpu();
    let other = table.replace("616c676f72697468", "0").replace(",engine 1", ",engine 7");
    unknown.fix_products(&other).unwrap();
    assert!(each(&unknown) == ours);
    let told = unknown.products_table().unwrap();
    assert_eq!(told.matches("taking up the plan ").count(), 10, "{told}");
}

#[test]
fn a_table_of_something_else_is_refused() {
    let Some((standin, _)) = standins() else { return };
    let gpu = standin.gpu();
    let columns = "product,who,ours_us,theirs_us,differs_by,plan\n";
    let error = gpu.fix_products(&format!("# a card; no cuBLASLt; cuDNN 9.10\n{columns}")).unwrap_err();
    let text = "the table of products is of `a card; no cuBLASLt; cuDNN 9.10`, and here is `host fibers; compute \
         capability 9.0; cuBLASLt 13.1; cuDNN 9.10`: products must be timed here";
    assert_eq!(error.to_string(), text);
    let error = gpu.fix_products("something else").unwrap_err().to_string();
    assert!(error.starts_with("line 1 of a table of products: "), "{error}");
    assert_eq!((gpu.products_table(), gpu.products_described()), (None, None));
}

#[test]
fn small_products_are_ours_without_a_trial() {
    let Some((_, products)) = standins() else { return };
    let shape = Conv2dShape::linear(16, 8, 4);
    let choosing = |least_operations| {
        let products = Choosing::Timed { least_operations };
        Gpu::open(&Options { cache: None, products, ..Options::default() }).unwrap()
    };
    let compute = |gpu: &Gpu| {
        let (x, weight) = (gpu.upload(&[1.0_f32; 128]).unwrap(), gpu.upload(&[1.0_f32; 32]).unwrap());
        gpu.conv2d(Precision::F32, &shape, &x, &weight, Epilogue::default()).unwrap()
    };
    compute(&choosing(2 * 16 * 8 * 4 + 1));
    assert_eq!(products.computed(), [0, 0]);
    let gpu = choosing(2 * 16 * 8 * 4);
    compute(&gpu);
    assert!(products.computed()[0] > 0);
    let described = "products timed (cuBLASLt 13.1; cuDNN 9.10)";
    assert_eq!(gpu.products_described().as_deref(), Some(described));
}

/// Memory that runs out in a trial leaves the product to ours; memory that runs out for the product itself is an error.
#[test]
fn each_allocation_of_a_trial_can_fail() {
    let Some((standin, _)) = standins() else { return };
    let shape = &shapes()[1];
    let x = drawn(Precision::F32.element(), shape.input_len(), 1);
    let weight = drawn(Precision::F32.element(), shape.weight_len(), 2);
    let (mut untried, mut number) = (0, 0);
    loop {
        let gpu = timing();
        let (x, weight) = (gpu.upload(&x).unwrap(), gpu.upload(&weight).unwrap());
        let before = gpu.memory();
        standin.fail_allocations(number, 2);
        let result = gpu.conv2d(Precision::F32, shape, &x, &weight, Epilogue::default());
        standin.fail_allocations(0, 0);
        let table = gpu.products_table().unwrap();
        match result {
            Ok(result) => {
                drop(result);
                if table.contains("could not be tried: out of memory on the GPU") {
                    untried += 1;
                }
            }
            Err(GpuError::OutOfMemory { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!((gpu.memory().held, gpu.memory().buffers), (before.held, before.buffers), "{number}");
        gpu.wait().unwrap();
        if number > 200 {
            break;
        }
        number += if number < 8 { 1 } else { 13 };
    }
    assert!(untried >= 3, "{untried} trials without memory");
}
