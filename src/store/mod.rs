//! Checkpoints by name: what a name means, which file holds the weights, and that file on this machine.
//!
//! | verb | what it does |
//! |---|---|
//! | [`resolve()`] | from a name to a [`ModelSpec`](crate::ModelSpec) |
//! | [`open`] | from a spec to its [`Weights`](crate::weights::Weights), downloaded if need be |
//! | [`find`] | the file of a checkpoint on this machine, without a request |
//! | [`ensure()`] | the same, downloaded if it is not there |
//! | [`size`] | how much [`ensure()`] would download |
//! | [`list()`], [`list_releases`] | the checkpoints in the caches |
//! | [`lock`] | what a lockfile says about them |
//!
//! [`scan()`] lists whole caches, with what [`CachedRepo`] can check and delete.

mod clear;
mod ensure;
mod fit;
mod folder;
mod list;
mod open;
mod pick;
mod resolve;
mod scan;
mod sweep;

pub use clear::{
    Reclaimable, ReclaimableKind, clear_releases, reclaimable_releases, release_removal,
    remove_release,
};
pub use ensure::{ensure, find, size};
pub use fit::check_weights;
pub(crate) use fit::explain_mismatch;
pub use list::{CachedRelease, list, list_releases, lock, pinned_commits};
pub use open::open;
#[cfg(feature = "cli")]
pub(crate) use open::{length_of, local_weights};
pub use pick::PickError;
#[cfg(feature = "cli")]
pub(crate) use resolve::named_repository;
pub use resolve::{Resolved, at_revision, resolve};
pub use scan::{
    CachedFile, CachedRepo, CachedRevision, Integrity, check_release, scan, scan_releases,
};
pub use sweep::{Left, LeftKind, Removal};
