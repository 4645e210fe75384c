//! What this machine is: its cores and caches, its name, the memory that was used. Linux tells these in
//! files, macOS by `sysctl`. What is not told has a default.

mod caches;
mod cores;
mod list;
#[cfg(all(test, not(target_os = "macos")))]
mod made_up;
mod memory;
mod name;

pub(crate) use caches::l2;
pub(crate) use cores::equal_threads;
pub use cores::threads;
pub(crate) use memory::peak;
pub(crate) use name::cpu;

/// A number of macOS, such as `hw.physicalcpu`.
#[cfg(target_os = "macos")]
fn sysctl(name: &str) -> Option<usize> {
    sysctl_text(name)?.parse().ok()
}

/// What macOS says under a name, such as `machdep.cpu.brand_string`.
#[cfg(target_os = "macos")]
fn sysctl_text(name: &str) -> Option<String> {
    use sysctl::Sysctl;
    sysctl::Ctl::new(name).ok()?.value_string().ok()
}
