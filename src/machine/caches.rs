//! How much of the caches a core has to itself.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use super::{cores, list};

/// What most processors have, from AMD's of 2022 on and Arm's servers; where the system does not tell.
const USUAL: usize = 1 << 20;

/// Bytes of the L2 cache that a fast core has to itself: its share, where several have one together. Between
/// 256 KiB and 4 MiB, whatever the system says.
pub(crate) fn l2() -> usize {
    static L2: OnceLock<usize> = OnceLock::new();
    *L2.get_or_init(|| share().unwrap_or(USUAL).clamp(USUAL / 4, 4 * USUAL))
}

#[cfg(target_os = "macos")]
fn share() -> Option<usize> {
    let of_fast = |name: &str| super::sysctl(&format!("hw.perflevel0.{name}"));
    match (of_fast("l2cachesize"), of_fast("cpusperl2")) {
        (Some(size), Some(cores)) => Some(size / cores.max(1)),
        _ => super::sysctl("hw.l2cachesize"),
    }
}

#[cfg(not(target_os = "macos"))]
fn share() -> Option<usize> {
    share_of(Path::new("/"))
}

/// The share of the first fast core that this thread may run on.
fn share_of(root: &Path) -> Option<usize> {
    let cores = cores::fast_cores(root, cores::FAST)?;
    let core = cores.first()?;
    let cache = cores::cpu_folder(&root.join("sys/devices"), *core.first()?).join("cache");
    // Of L1 there are two, and no machine has ten levels.
    let mut folders = (0..10).map(|index| cache.join(format!("index{index}")));
    let folder = folders.find(|folder| cores::number(&folder.join("level")) == Some(2_usize))?;
    let size = bytes(&fs::read_to_string(folder.join("size")).ok()?)?;
    // CPUs, of which a core may have several.
    let sharing = list::read(&folder.join("shared_cpu_list"));
    let cores = sharing.map_or(1, |cpus| cpus.len() / core.len().max(1));
    Some(size / cores.max(1))
}

/// A size such as `1024K`.
fn bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let units = [("K", 1 << 10), ("M", 1 << 20)];
    let unit = |(unit, bytes)| Some((text.strip_suffix(unit)?, bytes));
    let (number, unit) = units.into_iter().find_map(unit)?;
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::made_up::System;

    /// Two cores of two hardware threads each.
    fn machine(cache: &[(&str, &str)]) -> System {
        let mut system = System::new("0-3");
        for cpu in 0..4 {
            system.cpu(
                cpu,
                "topology/thread_siblings_list",
                ["0,2", "1,3"][cpu % 2],
            );
        }
        for (name, text) in cache {
            system.cpu(0, &format!("cache/{name}"), text);
        }
        system
    }

    #[test]
    fn a_core_has_its_share() {
        let of = |size: &str, shared: &str| {
            let system = machine(&[
                ("index0/level", "1"),
                ("index0/size", "48K"),
                ("index2/level", "2"),
                ("index2/size", size),
                ("index2/shared_cpu_list", shared),
                ("index3/level", "3"),
                ("index3/size", "32768K"),
            ]);
            share_of(system.root())
        };
        assert_eq!(of("1024K", "0,2"), Some(1 << 20));
        assert_eq!(of("2M", "0-3"), Some(1 << 20));
        assert_eq!(of("512K", "all"), Some(512 << 10));
        assert_eq!(of("512K", ""), Some(512 << 10));
        for size in ["", "0x200K", "512", "-4K", "99999999999999999999K"] {
            assert_eq!(of(size, "0,2"), None, "{size}");
        }
    }

    #[test]
    fn a_system_that_tells_nothing_has_no_share() {
        assert_eq!(share_of(machine(&[]).root()), None);
        assert_eq!(share_of(Path::new("no/such")), None);
    }

    #[test]
    fn this_machine_has_a_cache() {
        assert!((256 << 10..=4 << 20).contains(&l2()));
    }
}
