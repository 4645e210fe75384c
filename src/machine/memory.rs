//! The memory of this process.

/// Most bytes of memory that the process had at a time; known on Linux and macOS only.
#[cfg(not(target_os = "macos"))]
pub(crate) fn peak() -> Option<u64> {
    peak_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// As it is elsewhere, from another source.
#[cfg(target_os = "macos")]
pub(crate) fn peak() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    // In bytes; Linux has KiB there, and counts what the parent process had.
    let bytes = getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss();
    u64::try_from(bytes).ok()
}

#[cfg(not(target_os = "macos"))]
fn peak_of(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_in_bytes() {
        assert_eq!(
            peak_of("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"),
            Some(2 << 20)
        );
        for text in [
            "",
            "VmHWM:",
            "VmHWM: 3 MB",
            "VmHWM: 99999999999999999999 kB",
        ] {
            assert_eq!(peak_of(text), None, "{text}");
        }
        assert!(peak().unwrap() > 1 << 20);
    }
}
