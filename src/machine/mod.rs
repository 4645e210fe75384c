//! What this machine is: its cores and caches, its name, the memory that was used. Linux tells these in
//! files, macOS by `sysctl`. What is not told has a default.

use std::sync::OnceLock;
use std::thread;

#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

// On other systems Linux's files are missing, and so nothing is told.
#[cfg(not(target_os = "macos"))]
use linux as system;
#[cfg(target_os = "macos")]
use macos as system;

pub(crate) use system::cpu_name;
pub use system::peak_memory;

/// A fast core has at least this share of the largest capacity, in per cent. Chips with three kinds of core
/// give the middle one 60 and more, the small one 45 at most.
const FAST: usize = 50;

/// The same of cores that are about as fast as the fastest.
const FASTEST: usize = 90;

/// Bytes of L2 of a core that most processors have, from AMD's of 2022 on and Arm's servers.
const USUAL_L2: usize = 1 << 20;

/// How many threads the CPU's work is best shared among, and has in the `senet` program unless
/// `--threads` says otherwise: one for each physical core, as two hardware threads share one core's
/// multipliers and its caches.
///
/// Where a machine has fast and slow cores, the fast ones count alone: those that Intel calls performance
/// cores, on arm64 those of at least half of the largest capacity, on Apple's machines those of the first
/// performance level. Only cores that this thread may run on count, and on Linux no more than the quota of
/// its control group, in whole CPUs. Where the system does not tell, every CPU is a core.
pub fn threads() -> usize {
    let available = thread::available_parallelism().map_or(1, usize::from);
    system::cores(FAST).map_or(available, |cores| cores.clamp(1, available))
}

/// How many threads can each have a core that is about as fast as the fastest: with more, some take longer
/// than others for the same work.
pub(crate) fn equal_threads() -> usize {
    static EQUAL: OnceLock<usize> = OnceLock::new();
    *EQUAL.get_or_init(|| threads().min(system::cores(FASTEST).unwrap_or(usize::MAX)))
}

/// Bytes of the L2 cache that a fast core has to itself: its share, where several have one together. Between
/// 256 KiB and 4 MiB, whatever the system says.
pub(crate) fn l2() -> usize {
    static L2: OnceLock<usize> = OnceLock::new();
    *L2.get_or_init(|| {
        let share = system::l2_share().unwrap_or(USUAL_L2);
        share.clamp(USUAL_L2 / 4, 4 * USUAL_L2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_thread_and_no_more_than_it_may() {
        let available = thread::available_parallelism().unwrap().get();
        assert!((1..=available).contains(&threads()));
        assert!((1..=threads()).contains(&equal_threads()));
    }

    #[test]
    fn this_machine_has_a_cache() {
        assert!((256 << 10..=4 << 20).contains(&l2()));
    }
}
