//! Weights on the Hugging Face hub: the `[weights]` table of a card, the cache, the download.

use serde::{Deserialize, Serialize};

/// Where a checkpoint's weights are. At least one of `repo`, `release` and `embedded` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsRef {
    /// Hub repository, `organisation/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Commit (40 hexadecimal digits); the branch `main` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// File name inside the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// SHA-256 of that file, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The authors' release file outside the hub. Its name ends in `-` and the first 8 hexadecimal
    /// digits of its SHA-256, as PyTorch's `check_hash` expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// File under `models/weights/` that is part of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<String>,
}
