//! Why vectors cannot be compared.

use crate::quote::excerpt;

/// Vectors that cannot be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SimilarError {
    /// Vectors of different widths.
    #[error("the vectors have {found} values, expected {expected} as the others")]
    Width {
        /// Values of the vectors that are searched.
        expected: usize,
        /// Values of those that are looked for.
        found: usize,
    },
    /// Vectors without values.
    #[error("the vectors have no values")]
    NoValues,
    /// A vector with NaN or infinity, which has no direction.
    #[error("vector {index} has values that are not finite")]
    NotFinite {
        /// Its index.
        index: usize,
    },
    /// More vectors than pairs of them can be numbered.
    #[error("{count} vectors, expected at most {}", u32::MAX)]
    TooMany {
        /// Their number.
        count: usize,
    },
    /// A file of another kind, or a damaged one.
    #[error("{file} is not a file of features: {problem}")]
    NoFeatures {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A format that has features alone.
    #[error("{file} does not say which model, weights and preprocessing its features come from")]
    NoHeader {
        /// The file.
        file: String,
    },
    /// Features of another model, other weights or another preprocessing than those they are compared with.
    #[error(
        "the features in {file} cannot be compared: {field} {}, expected {}",
        excerpt(found),
        excerpt(expected)
    )]
    Foreign {
        /// The file of features.
        file: String,
        /// What differs.
        field: &'static str,
        /// What was expected.
        expected: String,
        /// What was found instead.
        found: String,
    },
    /// The caller stopped the search.
    #[error("the search was stopped")]
    Stopped,
}

impl SimilarError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Width { .. } => {
                Some("compute both with the same model and the same layer".to_owned())
            }
            Self::NotFinite { .. } => Some("compute the features again in f32".to_owned()),
            Self::Foreign { .. } => Some(
                "features can be compared only if they come from one model, its weights and one preprocessing"
                    .to_owned(),
            ),
            Self::NoFeatures { .. } | Self::NoHeader { .. } => {
                Some("`senet embed` writes files that can be searched, with the extension .safetensors".to_owned())
            }
            Self::NoValues | Self::TooMany { .. } | Self::Stopped => None,
        }
    }
}
