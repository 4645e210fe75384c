//! What the vetting knows of a value without having it.

use crate::weights::globals::Global;

#[derive(Clone, Copy)]
pub(super) struct Value {
    pub(super) kind: Kind,
    /// What a copy of it costs.
    pub(super) cost: u64,
    /// Levels of values inside it, itself included.
    pub(super) depth: u32,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A string: where its text begins in the input, its length, where it was written last.
    Text {
        from: usize,
        len: usize,
        at: usize,
    },
    /// A global and where it was written last.
    Global {
        global: &'static Global,
        at: usize,
    },
    /// A dict or list. Candle keeps copies, not references: `id` and `changes` tell when a copy
    /// is no longer what Python would see there.
    Dict {
        id: usize,
        changes: u32,
    },
    List {
        id: usize,
        changes: u32,
    },
    /// A tuple and whether it is empty.
    Tuple {
        empty: bool,
    },
    Other,
}

impl Kind {
    /// The number of changes of a copy from the memo, which no original has.
    const FETCHED: u32 = u32::MAX;

    pub(super) fn dict(id: usize) -> Self {
        Self::Dict { id, changes: 0 }
    }

    pub(super) fn list(id: usize) -> Self {
        Self::List { id, changes: 0 }
    }

    /// The same dict or list after `changes` changes.
    pub(super) fn changed(self, changes: u32) -> Self {
        match self {
            Self::Dict { id, .. } => Self::Dict { id, changes },
            Self::List { id, .. } => Self::List { id, changes },
            other => other,
        }
    }

    /// The kind of a copy from the memo.
    pub(super) fn fetched(self) -> Self {
        self.changed(Self::FETCHED)
    }
}
