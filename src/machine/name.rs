//! The name of the processor.

/// The name of the processor; the first one's, if there are several.
#[cfg(not(target_os = "macos"))]
pub(crate) fn cpu() -> Option<String> {
    use std::fs;
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    // What a board's firmware calls it; only there.
    let board = fs::read_to_string("/proc/device-tree/model").ok();
    name_of(&text, board.as_deref())
}

/// As it is elsewhere, from another source.
#[cfg(target_os = "macos")]
pub(crate) fn cpu() -> Option<String> {
    super::sysctl_text("machdep.cpu.brand_string")
}

/// Linux on arm64 has no names of processors, but numbers: who designed the core, and which one it is.
#[cfg(not(target_os = "macos"))]
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

#[cfg(all(test, not(target_os = "macos")))]
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
}
