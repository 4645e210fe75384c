//! The dicts of tensors that a file holds, by name, and where each tensor is.

use std::collections::BTreeMap;

use super::{DType, WeightsError};

/// What `DistributedDataParallel` and `torch.compile` put before every name, in the order in which
/// timm's `clean_state_dict` takes them off.
const WRAPPER_PREFIXES: [&str; 3] = ["_orig_mod.", "module.", "_orig_mod."];

/// A dict of tensors in a file.
#[derive(Clone, Debug, Default)]
pub(super) struct StateDict {
    /// The key under which it is; `None` where it is all of the file.
    pub(super) key: Option<String>,
    pub(super) entries: BTreeMap<String, Entry>,
    /// Its other named values.
    pub(super) others: BTreeMap<String, Other>,
}

/// A value of a state dict that is not read as a tensor.
#[derive(Clone, Debug)]
pub(super) struct Other {
    /// The keys that lead to it.
    pub(super) path: String,
    /// What it is.
    pub(super) kind: String,
    /// Whether it is a tensor, of a kind that is not read.
    pub(super) is_tensor: bool,
}

impl StateDict {
    pub(super) fn insert_other(&mut self, name: String, kind: String, is_tensor: bool) {
        let path = self.path(&name);
        let other = Other {
            path,
            kind,
            is_tensor,
        };
        self.others.insert(name, other);
    }

    /// The keys that lead to a value.
    pub(super) fn path(&self, name: &str) -> String {
        match &self.key {
            Some(key) => format!("[\"{key}\"][\"{name}\"]"),
            None => name.to_owned(),
        }
    }

    /// Whether anything has that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name) || self.others.contains_key(name)
    }

    /// The same without the prefixes of wrappers. Two tensors that would share a name are an error: it
    /// is unclear which of them is meant.
    pub(super) fn unwrapped(self, file: &str) -> Result<Self, WeightsError> {
        let mut entries = BTreeMap::new();
        for (name, entry) in self.entries {
            let plain = plain_name(&name);
            if entries.contains_key(plain) {
                return Err(WeightsError::Unsupported {
                    file: file.to_owned(),
                    problem: format!(
                        "without the prefixes of wrappers, tensor `{name}` and another are both `{plain}`"
                    ),
                });
            }
            entries.insert(plain.to_owned(), entry);
        }
        let others = self.others.into_iter();
        Ok(Self {
            key: self.key,
            entries,
            others: others
                .map(|(name, other)| (plain_name(&name).to_owned(), other))
                .collect(),
        })
    }
}

/// Where one tensor is. Whoever makes one has checked that all its elements are inside the file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Which of the files holds it.
    pub(super) part: usize,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    /// First byte of the first element.
    pub(super) start: usize,
    /// Elements between neighbours for each dimension, where that does not follow from the shape.
    pub(super) strides: Option<Vec<usize>>,
}

/// A tensor's name without the prefixes of wrappers.
pub(super) fn plain_name(name: &str) -> &str {
    let strip = |name, prefix: &str| str::strip_prefix(name, prefix).unwrap_or(name);
    WRAPPER_PREFIXES.into_iter().fold(name, strip)
}
