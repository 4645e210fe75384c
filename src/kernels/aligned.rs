//! Memory that is aligned to cache lines, so that no vector straddles two.

use bytemuck::Pod;
#[cfg(unix)]
use memmap2::MmapMut;

/// Bytes of a cache line and of the widest vector. Apple's processors have the longer lines.
const LINE: usize = if cfg!(target_arch = "aarch64") {
    128
} else {
    64
};

/// Values to allocate on top, so that [`line_start`] can skip to the next cache line.
pub const fn slack<T>() -> usize {
    LINE / size_of::<T>()
}

/// Index of the first value that starts a cache line, below [`slack`].
pub fn line_start<T>(values: &[T]) -> usize {
    values.as_ptr().align_offset(LINE).min(slack::<T>() - 1)
}

/// Allocations of at least this many bytes use huge pages where the system has them: packed weights
/// are read once per forward pass, and with 4 KiB pages half the time went into TLB misses.
#[cfg(unix)]
const MAPPED_FROM: usize = 1 << 18;

/// Values of which the first one starts a cache line.
#[derive(Debug)]
pub(super) enum Aligned<T = f32> {
    Vec {
        values: Vec<T>,
        start: usize,
        len: usize,
    },
    #[cfg(unix)]
    Map(MmapMut),
}

impl<T: Pod> Aligned<T> {
    pub(super) fn zeros(len: usize) -> Self {
        #[cfg(unix)]
        if len * size_of::<T>() >= MAPPED_FROM
            && let Ok(map) = MmapMut::map_anon(len * size_of::<T>())
        {
            // Where the system ignores the advice, the pages stay small.
            #[cfg(target_os = "linux")]
            drop(map.advise(memmap2::Advice::HugePage));
            return Self::Map(map);
        }
        let values = vec![T::zeroed(); len + slack::<T>()];
        let start = line_start(&values);
        Self::Vec { values, start, len }
    }
}

impl<T: Pod> std::ops::Deref for Aligned<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::Vec { values, start, len } => &values[*start..start + len],
            #[cfg(unix)]
            Self::Map(map) => bytemuck::cast_slice(map),
        }
    }
}

impl<T: Pod> std::ops::DerefMut for Aligned<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Vec { values, start, len } => &mut values[*start..*start + *len],
            #[cfg(unix)]
            Self::Map(map) => bytemuck::cast_slice_mut(map),
        }
    }
}
