//! What a file that is not a checkpoint contains, by its first bytes.

use std::fmt;

/// What a file that is not a checkpoint looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LooksLike {
    /// No bytes at all.
    Empty,
    /// A web page, most often an error page saved by a download.
    Html,
    /// The small text file that stands for a large one in a Git LFS checkout.
    GitLfsPointer,
    /// JSON text.
    Json,
    /// A tar archive.
    Tar,
    /// A checkpoint as PyTorch wrote it before version 0.1.10.
    TarCheckpoint,
    /// gzip-compressed data.
    Gzip,
    /// A TorchScript program.
    TorchScript,
    /// A zip archive that is not PyTorch's.
    Zip,
    /// A pickle that `torch.save` did not write.
    Pickle,
    /// None of the known formats.
    Unknown,
}

impl fmt::Display for LooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::Html => "it looks like an HTML page",
            Self::GitLfsPointer => "it is a Git LFS pointer",
            Self::Json => "it looks like JSON",
            Self::Tar => "it looks like a tar archive",
            Self::TarCheckpoint => "it is a tar archive as PyTorch wrote before version 0.1.10",
            Self::Gzip => "it looks like gzip-compressed data",
            Self::TorchScript => "it is a TorchScript program",
            Self::Zip => "it is a zip archive without a `data.pkl`",
            Self::Pickle => "it is a pickle that `torch.save` did not write",
            Self::Unknown => "it is neither a safetensors, a PyTorch nor a Caffe file",
        })
    }
}

/// Guesses what a file that is not a checkpoint contains.
pub(super) fn recognise(bytes: &[u8]) -> LooksLike {
    let text = bytes.trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    if bytes.is_empty() {
        LooksLike::Empty
    } else if begins("version https://git-lfs") {
        LooksLike::GitLfsPointer
    } else if begins("<!doctype") || begins("<html") {
        LooksLike::Html
    } else if begins("{") || begins("[") {
        LooksLike::Json
    } else if bytes.get(257..262) == Some(b"ustar") {
        let of_pytorch = ["sys_info\0", "pickle\0", "tensors\0", "storages\0"];
        match of_pytorch
            .iter()
            .any(|name| bytes.starts_with(name.as_bytes()))
        {
            true => LooksLike::TarCheckpoint,
            false => LooksLike::Tar,
        }
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        LooksLike::Gzip
    } else if bytes.starts_with(b"PK") {
        LooksLike::Zip
    } else if matches!(bytes, [0x80, 2..=5, ..]) {
        LooksLike::Pickle
    } else {
        LooksLike::Unknown
    }
}
