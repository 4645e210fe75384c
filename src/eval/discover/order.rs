//! The order of class names.

/// A text, then the number behind it: how many digits it has without leading zeros, and which.
type Part = (String, usize, String);

/// What names are compared by: timm's `natural_key` (`data/readers/class_map.py` and
/// `reader_image_folder.py`), and the name itself among those that only differ in case or in zeros.
pub(super) fn natural_key(name: &str) -> (Vec<Part>, String) {
    let lower = name.to_lowercase();
    let mut parts = Vec::new();
    let mut rest = &*lower;
    while !rest.is_empty() {
        let start = rest.find(|c: char| c.is_ascii_digit());
        let (text, behind) = rest.split_at(start.unwrap_or(rest.len()));
        let end = behind.find(|c: char| !c.is_ascii_digit());
        let (digits, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let number = digits.trim_start_matches('0');
        parts.push((text.to_owned(), number.len(), number.to_owned()));
        rest = behind;
    }
    (parts, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_and_case_does_not() {
        let sorted = [
            "1",
            "2",
            "10",
            "010",
            "Apple",
            "banana 2",
            "Banana 10",
            "Cat",
            "cat",
            "cat2b",
            "cat10a",
        ];
        let mut names = sorted;
        names.reverse();
        names.sort_by_cached_key(|name| natural_key(name));
        let expected = [
            "1",
            "2",
            "010",
            "10",
            "Apple",
            "banana 2",
            "Banana 10",
            "Cat",
            "cat",
            "cat2b",
            "cat10a",
        ];
        assert_eq!(names, expected);
    }
}
