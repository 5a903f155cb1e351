//! What this machine has to compute with, in words.

use cm_kernels::dispatch::isa;
use cm_tensor::devices::{Found, GpuDescription, gpus, libraries};

/// A line for the CPU, one for each GPU or why there is none, and one for each library of NVIDIA's that was looked for.
/// Nothing is measured.
pub fn describe_devices() -> String {
    let gpus = gpus().map_err(|error| error.to_string());
    describe(isa().name(), rayon::current_num_threads(), gpus, &libraries())
}

fn describe(
    isa: &str,
    threads: usize,
    gpus: Result<Vec<GpuDescription>, String>,
    libraries: &[Found],
) -> String {
    let mut text = format!("cpu     {isa}, {threads} threads\n");
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
        let lines = |gpus, library| describe("avx2", 3, gpus, &[found(library)]);
        let cpu = "cpu     avx2, 3 threads\n";
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
