//! What can go wrong between the program and a GPU.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use driver::Doing;

/// An error of the GPU, its driver or its compiler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// There is no driver to ask.
    #[error("no NVIDIA driver was found: looked for {}", .looked_for.join(", "))]
    NoDriver {
        /// Names of the library.
        looked_for: Vec<String>,
    },
    /// There is no such GPU.
    #[error("there is no GPU {wanted}: the driver found {found}")]
    NoDevice {
        /// Number of the GPU that was wanted.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// There is no compiler for the kernels.
    #[error("the kernels need NVRTC, the run-time compiler, and it was not found: looked for {}", .looked_for.join(", "))]
    NoCompiler {
        /// Names of the library.
        looked_for: Vec<String>,
    },
    /// A call of the driver failed. Errors of kernels show at the next copy or wait.
    #[error("{doing}: {name} ({text})")]
    Driver {
        /// What was being done.
        doing: String,
        /// The driver's name of the error.
        name: String,
        /// The driver's words.
        text: String,
    },
    /// There is not enough memory.
    #[error(
        "out of memory on the GPU: {} wanted, {} held by {} buffers, {} free of {}",
        mebibytes(*wanted), mebibytes(*held), buffers, mebibytes(*free), mebibytes(*total)
    )]
    OutOfMemory {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that this engine's buffers hold.
        held: usize,
        /// How many buffers these are.
        buffers: usize,
        /// Bytes the driver has free.
        free: usize,
        /// Bytes of the GPU.
        total: usize,
    },
    /// The compiler refused a file of kernels.
    #[error("NVRTC did not compile {file} for {architecture}: {log}")]
    Compiler {
        /// The file.
        file: String,
        /// What it was compiled for.
        architecture: String,
        /// What the compiler wrote.
        log: String,
    },
    /// A call of one of NVIDIA's other libraries failed.
    #[error("{library}, {doing}: {answer}")]
    Library {
        /// The library.
        library: &'static str,
        /// What was being done.
        doing: String,
        /// Its name of the error, and its words if it has any.
        answer: String,
    },
    /// A text is no table of products.
    #[error("line {line} of a table of products: {reason}")]
    Table {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A table of products was timed on something else.
    #[error("the table of products is of `{found}`, and here is `{here}`: products must be timed here")]
    OtherTable {
        /// What the table is of.
        found: String,
        /// What there is.
        here: String,
    },
}

fn mebibytes(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{bytes} B") } else { format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64) }
}

/// Errors of the driver.
#[cfg(not(target_arch = "wasm32"))]
mod driver {
    use super::GpuError;
    use cudarc::driver::DriverError;
    use std::ffi::CStr;

    impl GpuError {
        /// The driver's answer `error` to what was being done.
        pub(crate) fn driver(doing: impl Into<String>, error: DriverError) -> Self {
            let words = |text: Result<&CStr, DriverError>| {
                text.map_or_else(|_| format!("{:?}", error.0), |text| text.to_string_lossy().into_owned())
            };
            Self::Driver {
                doing: doing.into(),
                name: words(error.error_name()),
                text: words(error.error_string()),
            }
        }
    }

    /// Says what was being done when the driver failed.
    pub(crate) trait Doing<T> {
        fn doing(self, what: impl FnOnce() -> String) -> Result<T, GpuError>;
    }

    impl<T> Doing<T> for Result<T, DriverError> {
        fn doing(self, what: impl FnOnce() -> String) -> Result<T, GpuError> {
            self.map_err(|error| GpuError::driver(what(), error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_says_how_much_was_wanted_and_held() {
        let error =
            GpuError::OutOfMemory { wanted: 3 << 20, held: 700, buffers: 2, free: 1 << 19, total: 5 << 20 };
        let text =
            "out of memory on the GPU: 3.0 MiB wanted, 700 B held by 2 buffers, 524288 B free of 5.0 MiB";
        assert_eq!(error.to_string(), text);
    }
}
