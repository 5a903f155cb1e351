//! What this machine has to compute with, in words.

use crate::peak;
use cm_kernels::dispatch::isa;
use cm_tensor::devices::{Found, GpuDescription, gpus, libraries};

/// A line for the CPU, one for each GPU or why there is none, and one for each library of NVIDIA's that was looked for.
/// Of the CPU it is measured, in a tenth of a second, what one thread's arithmetic reaches at most, and what share of that
/// a product of matrices has.
pub fn describe_devices() -> String {
    let gpus = gpus().map_err(|error| error.to_string());
    let (peak, product) = peak::of_one_thread();
    let cpu = Cpu { isa: isa().name(), threads: rayon::current_num_threads(), peak, product };
    describe(&cpu, gpus, &libraries())
}

/// The processor as it is used.
struct Cpu {
    /// The instructions that kernels use.
    isa: &'static str,
    threads: usize,
    /// 10^9 operations a second of one thread, in registers.
    peak: f64,
    /// The same in a product of matrices.
    product: f64,
}

fn describe(cpu: &Cpu, gpus: Result<Vec<GpuDescription>, String>, libraries: &[Found]) -> String {
    let Cpu { isa, threads, peak, product } = cpu;
    let share = 100.0 * product / peak;
    let mut text = format!(
        "cpu     {isa}, {threads} threads; one reaches {peak:.0} GFLOP/s in registers, {share:.0}% of it in a product\n"
    );
    match gpus {
        Err(reason) => text += &format!("cuda    none: {reason}\n"),
        Ok(gpus) if gpus.is_empty() => text += "cuda    none: the driver found no GPU\n",
        Ok(gpus) => {
            for GpuDescription {
                number, name, capability: (major, minor), multiprocessors, memory, ..
            } in gpus
            {
                let gib = memory as f64 / f64::from(1 << 30);
                text += &format!(
                    "cuda:{number}  {name}, compute capability {major}.{minor}, {multiprocessors} multiprocessors, \
                     {gib:.1} GiB\n"
                );
            }
        }
    }
    for Found { what, looked_for, found } in libraries {
        let told = match found {
            Some((name, Some(version))) => format!("found as {name}, version {version}"),
            Some((name, None)) => format!("found as {name}; its version it does not say"),
            None => format!("not found; looked for {}", looked_for.join(", ")),
        };
        text += &format!("        {what}: {told}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_words() {
        let found = |found| Found {
            what: "NVRTC",
            looked_for: vec!["libnvrtc.so".into(), "libnvrtc.so.13".into()],
            found,
        };
        let cpu = Cpu { isa: "avx2", threads: 3, peak: 150.2, product: 120.16 };
        let lines = |gpus, library| describe(&cpu, gpus, &[found(library)]);
        let cpu = "cpu     avx2, 3 threads; one reaches 150 GFLOP/s in registers, 80% of it in a product\n";
        assert_eq!(
            lines(Err("no driver".into()), None),
            format!(
                "{cpu}cuda    none: no driver\n        NVRTC: not found; looked for libnvrtc.so, libnvrtc.so.13\n"
            )
        );
        let named = |version: Option<&str>| Some(("libnvrtc.so".to_owned(), version.map(str::to_owned)));
        let told = lines(Ok(vec![]), named(Some("13.0")));
        assert!(
            told.ends_with(
                "none: the driver found no GPU\n        NVRTC: found as libnvrtc.so, version 13.0\n"
            )
        );
        let gpu = GpuDescription {
            number: 1,
            name: "a GPU".to_owned(),
            capability: (9, 0),
            multiprocessors: 132,
            memory: 3 << 29,
            shared_memory: 0,
        };
        let told = lines(Ok(vec![gpu]), named(None));
        assert!(
            told.contains("cuda:1  a GPU, compute capability 9.0, 132 multiprocessors, 1.5 GiB\n"),
            "{told}"
        );
        assert!(told.ends_with("NVRTC: found as libnvrtc.so; its version it does not say\n"), "{told}");
    }
}
