//! Physical cores, the fast ones alone where a machine has two kinds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::list;

/// The CPUs of each fast core that this thread may run on, in a system whose files are below `root`: a core
/// has this share of the largest capacity, in per cent. `None` if the system does not list its CPUs, as others
/// than Linux do not.
pub(super) fn fast(root: &Path, share: usize) -> Option<Vec<BTreeSet<usize>>> {
    let devices = root.join("sys/devices");
    // CPUs that are not online have no topology.
    let mut cpus = list::read(&devices.join("system/cpu/online"))?;
    let status = root.join("proc/thread-self/status");
    if let Some(allowed) = list::of_status(&status, "Cpus_allowed_list") {
        cpus.retain(|cpu| allowed.contains(cpu));
    }
    // Intel's machines with two kinds of core have this device.
    if let Some(fast) = list::read(&devices.join("cpu_core/cpus"))
        && !fast.is_disjoint(&cpus)
    {
        cpus.retain(|cpu| fast.contains(cpu));
    } else {
        retain_fast(&devices, &mut cpus, share);
    }
    let mut cores = Vec::new();
    while let Some(&cpu) = cpus.first() {
        let core = siblings(&devices, cpu, &cpus);
        cpus.retain(|cpu| !core.contains(cpu));
        cores.push(core);
    }
    Some(cores)
}

/// Drops CPUs of less than this share of the largest capacity, in per cent.
fn retain_fast(devices: &Path, cpus: &mut BTreeSet<usize>, share: usize) {
    let capacity = |cpu: &usize| number(&cpu_folder(devices, *cpu).join("cpu_capacity"));
    let capacities: Option<Vec<usize>> = cpus.iter().map(capacity).collect();
    let Some(capacities) = capacities else {
        return;
    };
    let largest = capacities.iter().copied().max().unwrap_or(0);
    let mut fast = capacities
        .into_iter()
        .map(|own| own as f64 >= largest as f64 * share as f64 / 100.0);
    cpus.retain(|_| fast.next().unwrap_or(true));
}

/// Those of `cpus` that are in the same core as `cpu`, itself among them.
fn siblings(devices: &Path, cpu: usize, cpus: &BTreeSet<usize>) -> BTreeSet<usize> {
    let topology = |cpu| cpu_folder(devices, cpu).join("topology");
    if let Some(siblings) = list::read(&topology(cpu).join("thread_siblings_list"))
        && siblings.contains(&cpu)
    {
        return &siblings & cpus;
    }
    // Cores of two packages may have the same number.
    let core = |cpu| {
        let files = ["core_id", "physical_package_id"];
        let [core, package] = files.map(|file| number::<i64>(&topology(cpu).join(file)));
        Some((core?, package?))
    };
    let Some(own) = core(cpu) else {
        return [cpu].into();
    };
    let is_same = |other: &usize| core(*other) == Some(own);
    cpus.iter().copied().filter(is_same).collect()
}

pub(super) fn cpu_folder(devices: &Path, cpu: usize) -> PathBuf {
    devices.join(format!("system/cpu/cpu{cpu}"))
}

/// The number that a file consists of.
pub(super) fn number<T: FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::linux::made_up::System;
    use crate::machine::{FAST, FASTEST};

    const SIBLINGS: &str = "topology/thread_siblings_list";

    /// The CPUs of each core.
    fn cores(system: &System) -> Vec<Vec<usize>> {
        let cores = fast(system.root(), FAST).unwrap();
        let core = |cpus: BTreeSet<usize>| cpus.into_iter().collect();
        cores.into_iter().map(core).collect()
    }

    /// Four cores of two hardware threads each, as on most machines of AMD and Intel.
    fn hyperthreads() -> System {
        let pairs = ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"];
        System::new("0-7").each(SIBLINGS, &pairs)
    }

    #[test]
    fn two_hardware_threads_are_one_core() {
        assert_eq!(cores(&hyperthreads()), [[0, 4], [1, 5], [2, 6], [3, 7]]);
    }

    #[test]
    fn two_sockets_number_their_cores_alike() {
        let system = System::new("0-7")
            .each(
                "topology/core_id",
                &["0", "1", "0", "1", "0", "1", "0", "1"],
            )
            .each(
                "topology/physical_package_id",
                &["0", "0", "1", "1", "0", "0", "1", "1"],
            );
        assert_eq!(cores(&system), [[0, 4], [1, 5], [2, 6], [3, 7]]);
    }

    #[test]
    fn only_cores_that_the_thread_may_run_on_count() {
        let with = |cpus: &str| cores(&hyperthreads().allow(cpus));
        assert_eq!(with("1"), [[1]]);
        assert_eq!(with("1,5"), [[1, 5]]);
        assert_eq!(with("0-3"), [[0], [1], [2], [3]]);
        assert_eq!(with("2,5-6"), [vec![2, 6], vec![5]]);
    }

    #[test]
    fn cpus_that_are_offline_do_not_count() {
        // A kernel lists all that there could be as allowed.
        let mut system = System::new("0-1,3").allow("0-127");
        system.cpu(0, SIBLINGS, "0");
        system.cpu(1, SIBLINGS, "1,3");
        system.cpu(3, SIBLINGS, "1,3");
        assert_eq!(cores(&system), [vec![0], vec![1, 3]]);
    }

    #[test]
    fn slow_cores_of_arm_do_not_count() {
        let with = |capacities| System::new("0-3").each("cpu_capacity", capacities);
        let two = ["446", "446", "1024", "1024"];
        assert_eq!(cores(&with(&two)), [[2], [3]]);
        // Of three kinds the middle one is fast, too, if not the fastest.
        let three = with(&["250", "744", "744", "1024"]);
        assert_eq!(cores(&three), [[1], [2], [3]]);
        let fastest = fast(three.root(), FASTEST).unwrap();
        assert_eq!(fastest, [[3].into()]);
        let all = [[0], [1], [2], [3]];
        assert_eq!(cores(&with(&["1024"; 4])), all);
        assert_eq!(cores(&with(&["446", "fast", "1024", "1024"])), all);
        // A thread that may run on slow cores alone has these.
        assert_eq!(cores(&with(&two).allow("0-1")), [[0], [1]]);
    }

    #[test]
    fn slow_cores_of_intel_do_not_count() {
        let hybrid = || {
            let siblings = ["0-1", "0-1", "2-3", "2-3", "4", "5", "6", "7"];
            let mut system = System::new("0-7").each(SIBLINGS, &siblings);
            system.write("sys/devices/cpu_core/cpus", "0-3");
            system.write("sys/devices/cpu_atom/cpus", "4-7");
            system
        };
        assert_eq!(cores(&hybrid()), [[0, 1], [2, 3]]);
        assert_eq!(cores(&hybrid().allow("3-5")), [[3]]);
        assert_eq!(cores(&hybrid().allow("5-6")), [[5], [6]]);
    }

    #[test]
    fn without_a_topology_every_cpu_is_a_core() {
        let all = [[0], [1], [2]];
        assert_eq!(cores(&System::new("0-2")), all);
        // Garbage, and siblings without the CPU itself.
        let mut system = System::new("0-2")
            .each(SIBLINGS, &["", "\u{0}\u{1}", "0"])
            .each("topology/core_id", &["0", "zero", "-"])
            .each("topology/physical_package_id", &["", "0", "0"])
            .allow("?");
        system.write("sys/devices/cpu_core/cpus", "many");
        assert_eq!(cores(&system), all);
    }

    #[test]
    fn a_system_that_lists_no_cpus_is_not_known() {
        assert_eq!(fast(System::new("all").root(), FAST), None);
        assert_eq!(fast(Path::new("no/such"), FAST), None);
    }
}
