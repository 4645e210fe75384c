//! The processor's name and this process's memory.

use std::fs;

/// The name of the processor, the first one's if there are several; on a board without names of processors,
/// that of the board.
pub(crate) fn cpu_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let board = fs::read_to_string("/proc/device-tree/model").ok();
    name_of(&text, board.as_deref())
}

/// Most bytes of memory that the process had at a time; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    peak_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_of(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// On arm64 there are no names of processors, but numbers: who designed the core, and which one it is.
fn name_of(cpuinfo: &str, board: Option<&str>) -> Option<String> {
    let value = |field: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(name, _)| name.trim_end() == field)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    };
    if let Some(name) = value("model name") {
        return Some(name.to_owned());
    }
    let board = board.map(|board| board.trim_end_matches('\0').trim());
    if let Some(board) = board.filter(|board| !board.is_empty()) {
        return Some(board.to_owned());
    }
    let (designer, core) = (value("CPU implementer")?, value("CPU part")?);
    Some(match (designer, core) {
        ("0x41", "0xd08") => "Arm Cortex-A72".into(),
        ("0x41", "0xd0b") => "Arm Cortex-A76".into(),
        ("0x41", "0xd0c") => "Arm Neoverse-N1".into(),
        ("0x41", "0xd40") => "Arm Neoverse-V1".into(),
        ("0x41", "0xd49") => "Arm Neoverse-N2".into(),
        ("0x41", "0xd4f") => "Arm Neoverse-V2".into(),
        _ => format!("arm64 implementer {designer}, part {core}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let x86 = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(name_of(x86, None).as_deref(), Some("AMD EPYC"));
        let arm = |part: &str| {
            format!(
                "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU part\t: {part}\n"
            )
        };
        let name = name_of(&arm("0xd0b"), Some("Raspberry Pi 5 Model B Rev 1.0\0"));
        assert_eq!(name.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        let name = name_of(&arm("0xd40"), Some("\0"));
        assert_eq!(name.as_deref(), Some("Arm Neoverse-V1"));
        let name = name_of(&arm("0xfff"), None);
        assert_eq!(name.as_deref(), Some("arm64 implementer 0x41, part 0xfff"));
        for text in ["", "garbage", "model name", "model name\t:\n"] {
            assert_eq!(name_of(text, None), None, "{text}");
        }
    }

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
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory() {
        assert!(peak_memory().unwrap() > 1 << 20);
    }
}
