//! Memory that begins at a cache line, so that no vector lies across two.

#[cfg(unix)]
use memmap2::MmapMut;

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Values that [`line_start`] may skip.
pub const SLACK: usize = LINE / size_of::<f32>();

/// Index of the first value that begins a cache line, below [`SLACK`].
pub fn line_start(values: &[f32]) -> usize {
    values.as_ptr().align_offset(LINE).min(SLACK - 1)
}

/// Bytes from which on memory is mapped, in large pages where the system has them: packed weights
/// are read once a pass, and with small pages half of the time would go into finding them.
#[cfg(unix)]
const MAPPED_FROM: usize = 1 << 18;

/// Values from the start of a cache line on.
#[derive(Debug)]
pub(super) enum Aligned {
    Vec {
        values: Vec<f32>,
        start: usize,
        len: usize,
    },
    #[cfg(unix)]
    Map(MmapMut),
}

impl Aligned {
    pub(super) fn zeros(len: usize) -> Self {
        #[cfg(unix)]
        if len * size_of::<f32>() >= MAPPED_FROM
            && let Ok(map) = MmapMut::map_anon(len * size_of::<f32>())
        {
            // Where the system does not take the advice, the pages are small.
            #[cfg(target_os = "linux")]
            drop(map.advise(memmap2::Advice::HugePage));
            return Self::Map(map);
        }
        let values = vec![0.0; len + SLACK];
        let start = line_start(&values);
        Self::Vec { values, start, len }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        match self {
            Self::Vec { values, start, len } => &values[*start..start + len],
            #[cfg(unix)]
            Self::Map(map) => bytemuck::cast_slice(map),
        }
    }
}

impl std::ops::DerefMut for Aligned {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Vec { values, start, len } => &mut values[*start..*start + *len],
            #[cfg(unix)]
            Self::Map(map) => bytemuck::cast_slice_mut(map),
        }
    }
}
