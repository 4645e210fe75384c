//! Systems made up for tests.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// The files below its root, as Linux has them.
pub(super) struct System(TempDir);

impl System {
    /// With these CPUs online.
    pub(super) fn new(online: &str) -> Self {
        let mut system = Self(tempfile::tempdir().unwrap());
        system.write("sys/devices/system/cpu/online", online);
        system
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&mut self, name: &str, text: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// Writes a file of a CPU.
    pub(super) fn cpu(&mut self, cpu: usize, name: &str, text: &str) {
        self.write(&format!("sys/devices/system/cpu/cpu{cpu}/{name}"), text);
    }

    /// Writes such a file for each CPU.
    pub(super) fn each(mut self, name: &str, texts: &[&str]) -> Self {
        for (cpu, text) in texts.iter().enumerate() {
            self.cpu(cpu, name, text);
        }
        self
    }

    /// The thread may run on these CPUs.
    pub(super) fn allow(mut self, cpus: &str) -> Self {
        let text = format!(
            "Name:\tsenet\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\nMems_allowed_list:\t0"
        );
        self.write("proc/thread-self/status", &text);
        self
    }
}
