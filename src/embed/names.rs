//! The paths of the images that have a row.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::FeatureFile;
use crate::digest::hexadecimal;
use crate::eval::Item;

/// The images of a file of features, in the order of its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    /// The file that is appended to, whose images come first.
    pub(super) old: Option<&'a FeatureFile>,
    /// The images that were run.
    pub(super) items: &'a [&'a Item],
    /// Those of them without a row, in order.
    pub(super) failed: &'a [usize],
}

impl<'a> Names<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = Cow<'a, [u8]>> {
        let Self { old, items, failed } = self;
        let old = old.into_iter().flat_map(FeatureFile::paths);
        let mut failed = failed.iter().peekable();
        let new = items.iter().enumerate();
        let new = new.filter(move |(place, _)| failed.next_if(|next| *next == place).is_none());
        old.map(Cow::Borrowed)
            .chain(new.map(|(_, item)| item.path()))
    }
    /// SHA-256 of all paths.
    pub(super) fn fingerprint(self) -> String {
        let mut hash = Sha256::new();
        for name in self.iter() {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(&name);
        }
        hexadecimal(&hash.finalize())
    }
}
