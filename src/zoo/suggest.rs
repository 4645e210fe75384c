//! Names that resemble what was typed.

use std::cmp::Reverse;

/// Far longer than any model's name; the distance takes time proportional to the product of the lengths.
const MAX_LENGTH: usize = 64;
const SHOWN: usize = 5;

/// A name without case and separators, for comparison: `SE-ResNet` and `se_resnet` give `seresnet`.
pub(crate) fn squash(name: &str) -> String {
    let kept = name.chars().filter(|c| !matches!(c, '-' | '_' | ' '));
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// Up to five of `names` that `text` may mean, nearest first: those that contain it or
/// are contained in it, then those a few typing errors away; of several equally near ones, first those
/// that begin in the same way.
pub(super) fn near<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let key = squash(text);
    if key.len() < 3 || key.len() > MAX_LENGTH {
        return Vec::new();
    }
    let mut found = Vec::new();
    for name in names {
        let other = squash(name);
        let apart = distance(&key, &other);
        let related = holds(&other, &key) || holds(&key, &other);
        if related || apart <= (key.len() / 4).clamp(1, 3) {
            let same = key.bytes().zip(other.bytes());
            let same = same.take_while(|(a, b)| a == b).count();
            found.push((!related, apart, Reverse(same), name));
        }
    }
    found.sort();
    found
        .into_iter()
        .take(SHOWN)
        .map(|(.., name)| name.to_owned())
        .collect()
}

/// Whether `long` contains `short`, and not as a part of a longer number at its end.
fn holds(long: &str, short: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    long.match_indices(short).any(|(at, _)| {
        !short.ends_with(is_digit) || !long[at + short.len()..].starts_with(is_digit)
    })
}

/// Insertions, deletions, replacements and swaps of neighbours between two texts (the optimal
/// string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_the_four_typing_errors() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("senet", "senet", 0),
            ("senet", "sebnet", 1),
            ("senet", "snet", 1),
            ("senet", "sonet", 1),
            ("senet", "sneet", 1),
            ("seresnet", "resnest", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn near_names_are_sorted_by_likeness() {
        let names = ["seresnet50", "legacy_seresnet50", "skresnet50", "senet154"];
        assert_eq!(
            near("SE-ResNet-50", names),
            ["seresnet50", "legacy_seresnet50", "skresnet50"]
        );
        assert_eq!(near("seresent50", names)[0], "seresnet50");
        assert_eq!(near("resnet50", names).len(), 3);
        let numbered = ["seresnet10", "legacy_seresnet101", "seresnet152d"];
        assert_eq!(
            near("seresnet101", numbered),
            ["legacy_seresnet101", "seresnet10"]
        );
        assert_eq!(near("seresnet153", numbered)[0], "seresnet152d");
        assert!(near("vit", names).is_empty());
        assert!(near(&"seresnet50".repeat(100), names).is_empty());
    }
}
