//! Why vectors cannot be compared.

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
            Self::NoValues | Self::TooMany { .. } | Self::Stopped => None,
        }
    }
}
