//! How much memory this process may have.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that this process can have at most: what the machine holds with its swap space, what a control group allows,
/// what the process itself was limited to. `None` where none of it can be read (anywhere but on Linux).
pub fn allowed() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| of_machine(&text));
    let process = read("/proc/self/limits").and_then(|text| of_process(&text));
    let groups = read("/proc/self/cgroup").map_or_else(Vec::new, |text| group_files(&text));
    let groups = groups.iter().filter_map(|path| number(fs::read_to_string(path).ok()?.trim()));
    groups.chain(machine).chain(process).min()
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// `MemTotal` and `SwapTotal` of `/proc/meminfo`, which count KiB.
fn of_machine(text: &str) -> Option<u64> {
    let of = |field: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        number(line.split_whitespace().next()?)?.checked_mul(1024)
    };
    Some(of("MemTotal")?.saturating_add(of("SwapTotal").unwrap_or(0)))
}

/// The soft limits of address space and data in `/proc/self/limits`.
fn of_process(text: &str) -> Option<u64> {
    let of = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        number(line.split_whitespace().next()?)
    };
    ["Max address space", "Max data size"].into_iter().filter_map(of).min()
}

/// The files that hold the limits of the control groups in `/proc/self/cgroup` and of those above them, of both versions.
fn group_files(text: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let folders = Path::new(group.trim_start_matches('/')).ancestors();
        files.extend(folders.map(|folder| Path::new(root).join(folder).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_linux_writes_them() {
        let meminfo = "MemTotal:       24585220 kB\nMemFree:  1 kB\nSwapTotal:           2048 kB\n";
        assert_eq!(of_machine(meminfo), Some((24_585_220 + 2048) * 1024));
        assert_eq!(of_machine("MemFree: 3 kB\n"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max data size             unlimited            unlimited            bytes     \n\
                      Max address space         4294967296           unlimited            bytes     \n";
        assert_eq!(of_process(limits), Some(1 << 32));
        assert_eq!(of_process(&limits.replace("4294967296", "unlimited ")), None);
        let found = group_files("4:cpu,memory:/a/b\n3:pids:/x\n0::/c\n");
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/c/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_may_have_some_memory() {
        assert!(allowed().is_some_and(|bytes| bytes > 1 << 20));
    }
}
