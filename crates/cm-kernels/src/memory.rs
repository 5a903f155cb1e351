//! How the process's allocator treats the buffers of a training step, and what the process holds.

/// Tells the allocator to keep freed memory for the next step instead of giving it back to the system.
///
/// A step allocates and frees the same large buffers again and again. glibc returns such buffers to the system at
/// once, and the next step pays for each page anew (on an 8x8 network of 24 channels: 70,000 page
/// faults a second). One arena serves all threads, because only the main arena can grow without bound.
/// Does nothing with other C libraries. To be called once, before threads are started.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // From glibc's malloc.h; the parameters are part of its interface.
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_TOP_PAD: c_int = -2;
        const M_MMAP_MAX: c_int = -4;
        const M_ARENA_MAX: c_int = -8;
        const MIB: c_int = 1 << 20;
        for (parameter, value) in [
            (M_ARENA_MAX, 1),
            // No buffer is a mapping of its own, however large: a threshold above 32 MiB is not accepted.
            (M_MMAP_MAX, 0),
            (M_TRIM_THRESHOLD, c_int::MAX),
            (M_TOP_PAD, 16 * MIB),
        ] {
            // SAFETY: `mallopt` takes two plain numbers and may be called at any time; a refusal (0) leaves the
            // allocator as it was, which is right, if slower.
            unsafe { mallopt(parameter, value) };
        }
    }
}

/// The most bytes of memory this process has held at once, where the system tells (Linux).
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_large_buffer_raises_the_peak() {
        let before = super::peak_resident().unwrap();
        let buffer = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(super::peak_resident().unwrap() >= before.max(64 << 20));
        drop(buffer);
    }
}
