//! What this machine has to compute with, in words.

use cm_kernels::dispatch::isa;
use cm_tensor::devices::{Cuda, Gpu, cuda};

/// A line for the CPU, and one for each GPU or why there is none. Nothing is measured.
pub fn describe_devices() -> String {
    describe(isa().name(), rayon::current_num_threads(), &cuda())
}

fn describe(isa: &str, threads: usize, cuda: &Cuda) -> String {
    let mut text = format!("cpu     {isa}, {threads} threads\n");
    match cuda {
        Cuda::NotCompiledIn => text.push_str("cuda    not compiled in (feature `cuda`)\n"),
        Cuda::Unavailable(reason) => {
            text.push_str(&format!("cuda    compiled in, but no driver answers: {reason}\n"));
        }
        Cuda::Found(gpus) if gpus.is_empty() => {
            text.push_str("cuda    compiled in, the driver found no GPU\n");
        }
        Cuda::Found(gpus) => {
            for (ordinal, Gpu { capability: (major, minor), multiprocessors, free, total }) in
                gpus.iter().enumerate()
            {
                let gib = |bytes: &usize| *bytes as f64 / f64::from(1 << 30);
                let line = format!(
                    "cuda:{ordinal}  compute capability {major}.{minor}, {multiprocessors} multiprocessors, {:.1} of {:.1} GiB free\n",
                    gib(free),
                    gib(total),
                );
                text.push_str(&line);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_words() {
        let lines = |cuda| describe("avx2", 3, &cuda);
        let cpu = "cpu     avx2, 3 threads\n";
        assert_eq!(lines(Cuda::NotCompiledIn), format!("{cpu}cuda    not compiled in (feature `cuda`)\n"));
        let absent = lines(Cuda::Unavailable("reason".into()));
        assert_eq!(absent, format!("{cpu}cuda    compiled in, but no driver answers: reason\n"));
        assert!(lines(Cuda::Found(vec![])).ends_with("the driver found no GPU\n"));
        let gpu = Gpu { capability: (9, 0), multiprocessors: 132, free: 3 << 29, total: 1 << 32 };
        let found = lines(Cuda::Found(vec![gpu, gpu]));
        assert!(found.contains("cuda:1  compute capability 9.0, 132 multiprocessors, 1.5 of 4.0 GiB free"));
    }
}
