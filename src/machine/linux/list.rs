//! Numbers of CPUs as Linux lists them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// More CPUs than Linux can be built for.
const MOST: usize = 1 << 16;

/// Reads a list such as `0-3,8`; `None` if there is none, or something else.
pub(super) fn read(path: &Path) -> Option<BTreeSet<usize>> {
    parse(&fs::read_to_string(path).ok()?)
}

fn parse(text: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    let text = text.trim();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last] = [first, last].map(|number| number.parse::<usize>());
        let (first, last) = (first.ok()?, last.ok()?);
        if first > last || last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// The list in a line of `/proc/*/status`.
pub(super) fn of_status(path: &Path, field: &str) -> Option<BTreeSet<usize>> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    parse(line.strip_prefix(':')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let list = |cpus: &[usize]| Some(cpus.iter().copied().collect());
        assert_eq!(parse("0-3,8\n"), list(&[0, 1, 2, 3, 8]));
        assert_eq!(parse("5"), list(&[5]));
        assert_eq!(parse("1,0-1"), list(&[0, 1]));
        assert_eq!(parse("\n"), list(&[]));
        for text in [
            "x",
            "1-",
            "-1",
            "3-1",
            "0,,2",
            "0-99999999999",
            "0-70000",
            "1 2",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
