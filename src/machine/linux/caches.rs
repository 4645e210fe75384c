//! How much of the caches a core has to itself.

use std::fs;
use std::path::Path;

use super::{cores, list};
use crate::machine::FAST;

/// The bytes of L2 that the first fast core has to itself: its share, where several have one together.
pub(super) fn l2_share(root: &Path) -> Option<usize> {
    let cores = cores::fast(root, FAST)?;
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
    use crate::machine::linux::made_up::System;

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
            l2_share(system.root())
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
        assert_eq!(l2_share(machine(&[]).root()), None);
        assert_eq!(l2_share(Path::new("no/such")), None);
    }
}
