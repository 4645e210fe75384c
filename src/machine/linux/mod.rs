//! What Linux tells in files.

mod caches;
mod cores;
mod list;
#[cfg(test)]
mod made_up;
mod process;

use std::path::Path;

pub(crate) use process::cpu_name;
pub use process::peak_memory;

/// Cores that this thread may run on and that have this share of the largest capacity, in per cent.
pub(super) fn cores(share: usize) -> Option<usize> {
    Some(cores::fast(Path::new("/"), share)?.len())
}

/// The bytes of L2 that a fast core has to itself.
pub(super) fn l2_share() -> Option<usize> {
    caches::l2_share(Path::new("/"))
}
