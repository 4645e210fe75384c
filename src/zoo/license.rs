//! Which licences ask for no more than a mention of the authors.

use super::Card;

/// SPDX identifiers, in lower case.
const PERMISSIVE: [&str; 6] = [
    "0bsd",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "isc",
    "mit",
];

impl Card {
    /// Whether anybody may use the weights for anything, as under Apache-2.0 or MIT; false for a licence
    /// that is not known here.
    pub fn is_permissive(&self) -> bool {
        is_permissive(&self.license)
    }

    /// What a user of the weights should know about their licence, unless it is permissive.
    pub fn license_note(&self) -> Option<String> {
        (!self.is_permissive()).then(|| {
            let what = match is_non_commercial(&self.license) {
                true => "commercial use is not allowed",
                false => "read its terms before you use them",
            };
            format!(
                "the weights of {} are under {}: {what}",
                self.name, self.license
            )
        })
    }
}

fn is_non_commercial(license: &str) -> bool {
    license
        .to_ascii_lowercase()
        .split('-')
        .any(|part| part == "nc")
}

/// Of several licences joined by OR, one is enough. Other expressions count as not permissive.
fn is_permissive(expression: &str) -> bool {
    let lower = expression.to_ascii_lowercase();
    let mut choices = lower.split(" or ").map(str::trim);
    choices.any(|license| PERMISSIVE.contains(&license))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissive_licences() {
        for license in [
            "apache-2.0",
            "MIT OR Apache-2.0",
            "mit",
            "cc-by-nc-4.0 OR MIT",
        ] {
            assert!(is_permissive(license), "{license}");
        }
        for license in [
            "cc-by-nc-4.0",
            "seer-license",
            "MIT AND GPL-3.0",
            "",
            "mitt",
        ] {
            assert!(!is_permissive(license), "{license}");
        }
        assert!(is_non_commercial("CC-BY-NC-4.0") && !is_non_commercial("bsd-nce"));
    }
}
