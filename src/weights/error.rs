//! What can be wrong with a weights file, said so that the reader can act on it.

use super::{DType, LooksLike};
use crate::quote::excerpt;

/// A weights file could not be used.
///
/// `file` is the path, or the name given to [`Weights::from_bytes`](super::Weights::from_bytes).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system could not open, map or read the file.
    #[error("cannot read `{file}`")]
    Unreadable {
        /// Path.
        file: String,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// The operating system could not write the file.
    #[error("cannot write `{file}`")]
    Unwritable {
        /// Path.
        file: String,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// The content is not a checkpoint.
    #[error("`{file}` is not a weights file: {looks_like}")]
    NotWeights {
        /// Path or name.
        file: String,
        /// What the content looks like.
        looks_like: LooksLike,
    },
    /// The file ends before what it declares.
    #[error("`{file}` is cut short: {what} needs {expected} bytes, found {found}")]
    Truncated {
        /// Path or name.
        file: String,
        /// The part that does not fit.
        what: String,
        /// Bytes needed.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The file contradicts itself or its format.
    #[error("`{file}` is damaged: {problem}")]
    Damaged {
        /// Path or name.
        file: String,
        /// The contradiction, with the tensor or the position it was found at.
        problem: String,
    },
    /// The file asks for more memory or time than any checkpoint needs.
    #[error("`{file}`: {what} is over the limit of {limit}")]
    TooLarge {
        /// Path or name.
        file: String,
        /// The quantity.
        what: String,
        /// The most that is accepted.
        limit: u64,
    },
    /// A valid file of a kind that is not read.
    #[error("`{file}` is not supported: {problem}")]
    Unsupported {
        /// Path or name.
        file: String,
        /// What is not supported.
        problem: String,
    },
    /// A value of the state dict that cannot be read as a tensor.
    #[error("`{}` of `{file}` is {found}, expected a dense tensor", excerpt(name))]
    UnsupportedTensor {
        /// Path or name.
        file: String,
        /// The keys that lead to it.
        name: String,
        /// What it is.
        found: String,
    },
    /// A PyTorch file without a dict of tensors where one is looked for.
    #[error("`{file}` has no state dict: {problem}")]
    NoStateDict {
        /// Path or name.
        file: String,
        /// What was found in its place.
        problem: String,
    },
    /// An index of shards that cannot be used.
    #[error("`{file}` is not a usable shard index: {problem}")]
    Index {
        /// Path of the index.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Shards that an index names are not next to it.
    #[error("`{file}` names {total} shards, of which {} {} missing: {}", missing.len(),
        if missing.len() == 1 { "is" } else { "are" }, few(missing))]
    MissingShards {
        /// Path of the index.
        file: String,
        /// Number of shards that it names.
        total: usize,
        /// The names of those that are not there.
        missing: Vec<String>,
    },
    /// A shard without tensors that its index says it holds.
    #[error("`{file}` lacks {} tensor{} that `{index}` says it holds: {}", missing.len(),
        if missing.len() == 1 { "" } else { "s" }, few(missing))]
    ShardLacks {
        /// Path of the shard.
        file: String,
        /// Path of the index.
        index: String,
        /// The tensors.
        missing: Vec<String>,
    },
    /// A PyTorch file with several dicts that fit, none of which is the one that timm would take.
    #[error("`{file}` holds several state dicts that fit the network: `{}`", keys.join("`, `"))]
    SeveralStateDicts {
        /// Path or name.
        file: String,
        /// The keys under which they are.
        keys: Vec<String>,
    },
    /// No tensor of that name.
    #[error("`{file}` has no tensor `{}`", excerpt(name))]
    MissingTensor {
        /// Path or name.
        file: String,
        /// The name that was asked for.
        name: String,
    },
    /// The tensor has values of another kind than was asked for.
    #[error(
        "tensor `{}` of `{file}`: expected {expected} values, found {found}",
        excerpt(name)
    )]
    WrongDtype {
        /// Path or name.
        file: String,
        /// The tensor.
        name: String,
        /// The kind of values asked for.
        expected: &'static str,
        /// The dtype in the file.
        found: DType,
    },
    /// The content is not what the release's file name or its card promises.
    #[error("`{file}` has {kind} {found}, expected {expected}")]
    HashMismatch {
        /// Path.
        file: String,
        /// `SHA-256` or `SHA-1`.
        kind: &'static str,
        /// All digits, or the first ones with a `…`.
        expected: String,
        /// That of the content.
        found: String,
    },
}

const AGAIN: &str = "download the file again";

/// The first few names.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len() {
        0..=SHOWN => shown,
        more => format!("{shown} and {} more", more - SHOWN),
    }
}

impl WeightsError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        if let Self::SeveralStateDicts { keys, .. } = self {
            let key = keys.first().map_or("", String::as_str);
            return Some(format!(
                "in Python, save the one you want: `torch.save(torch.load(path)[\"{key}\"], other_path)`"
            ));
        }
        let save =
            "in Python, `torch.save(model.state_dict(), path)` writes a file that can be read";
        let hint = match self {
            Self::NotWeights { looks_like, .. } => match looks_like {
                LooksLike::Empty | LooksLike::Html => AGAIN,
                LooksLike::GitLfsPointer => "`git lfs pull` fetches the file it stands for",
                LooksLike::Json => "this may be the model's configuration; give its weights file",
                LooksLike::Tar | LooksLike::Gzip => "if it is an archive, unpack it first",
                LooksLike::TorchScript | LooksLike::Pickle => save,
                LooksLike::TarCheckpoint => {
                    "in Python, load it with `torch.load(path, weights_only=False)` if you trust it, and \
                     `torch.save` its state dict"
                }
                LooksLike::Zip | LooksLike::Unknown => {
                    "weights are read from `.safetensors`, `.bin`, `.pth` and `.caffemodel` files"
                }
            },
            Self::Truncated { .. } | Self::Damaged { .. } | Self::HashMismatch { .. } => AGAIN,
            Self::Unsupported { .. } | Self::NoStateDict { .. } => save,
            Self::UnsupportedTensor { .. } => {
                "in Python, save an ordinary tensor in its place: \
                 `tensor.dequantize()`, `.to_dense()` or `.resolve_conj().resolve_neg().contiguous()`"
            }
            Self::Index { .. } => {
                "give a single weights file, or download the index again with its shards"
            }
            Self::MissingShards { .. } => "put the missing files next to the index",
            Self::ShardLacks { .. } => {
                "the shard and the index are not from the same download: download both again"
            }
            Self::MissingTensor { .. } => "the file may belong to another network",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
