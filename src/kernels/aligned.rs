//! Memory that begins at a cache line, so that no vector lies across two.

use bytemuck::Pod;
#[cfg(unix)]
use memmap2::MmapMut;

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Values that [`line_start`] may skip.
pub const fn slack<T>() -> usize {
    LINE / size_of::<T>()
}

/// Index of the first value that begins a cache line, below [`slack`].
pub fn line_start<T>(values: &[T]) -> usize {
    values.as_ptr().align_offset(LINE).min(slack::<T>() - 1)
}

/// Bytes from which on memory is mapped, in large pages where the system has them: packed weights
/// are read once a pass, and with small pages half of the time would go into finding them.
#[cfg(unix)]
const MAPPED_FROM: usize = 1 << 18;

/// Values from the start of a cache line on.
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
            // Where the system does not take the advice, the pages are small.
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
