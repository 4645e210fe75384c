//! The `[weights]` table of a card.

use serde::{Deserialize, Serialize};

use crate::hub::{DEFAULT_REVISION, Release};

/// Weights file of timm's repositories; the default if a card names no file.
pub const DEFAULT_FILE: &str = "model.safetensors";

/// Where a checkpoint's weights are. At least one of `repo`, `release` and `embedded` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsRef {
    /// Hub repository, `organisation/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Commit (40 hexadecimal digits); the branch `main` if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// File name inside the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// SHA-256 of that file, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The authors' release file outside the hub. Its name has the first digits of its SHA-256,
    /// as `torch.hub` expects them: `senet154-c7b49a05.pth`. Where it is a zip archive around the weights
    /// file, they are those of `sha1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// SHA-1 of the weights file inside the release, 40 hexadecimal digits, where the release is a zip archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// SHA-384 of the release, 96 hexadecimal digits, where its name has no digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha384: Option<String>,
    /// File under `models/weights/` that is part of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<String>,
}

impl WeightsRef {
    /// File name in the repository.
    pub fn file(&self) -> &str {
        self.file.as_deref().unwrap_or(DEFAULT_FILE)
    }

    /// The authors' release file.
    pub fn released(&self) -> Option<Release<'_>> {
        Some(Release {
            url: self.release.as_deref()?,
            sha1: self.sha1.as_deref(),
            sha384: self.sha384.as_deref(),
        })
    }

    /// Branch, tag or commit of the repository.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }
}
