//! What macOS tells by `sysctl`.

use nix::sys::resource::{UsageWho, getrusage};
use sysctl::{Ctl, Sysctl};

/// Cores of the first performance level, or where there is one kind, all. They are equally fast, so the share
/// of the largest capacity does not matter.
pub(super) fn cores(_share: usize) -> Option<usize> {
    number("hw.perflevel0.physicalcpu").or_else(|| number("hw.physicalcpu"))
}

/// The bytes of L2 that one of these cores has to itself.
pub(super) fn l2_share() -> Option<usize> {
    let size = number("hw.perflevel0.l2cachesize").or_else(|| number("hw.l2cachesize"))?;
    let cores = number("hw.perflevel0.cpusperl2").unwrap_or(1);
    size.checked_div(cores)
}

/// The name of the processor.
pub(crate) fn cpu_name() -> Option<String> {
    text("machdep.cpu.brand_string")
}

/// Most bytes of memory that the process had at a time; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    // In bytes; Linux has KiB there, and counts what the parent process had.
    let bytes = getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss();
    u64::try_from(bytes).ok()
}

fn number(name: &str) -> Option<usize> {
    text(name)?.parse().ok()
}

fn text(name: &str) -> Option<String> {
    Ctl::new(name).ok()?.value_string().ok()
}
