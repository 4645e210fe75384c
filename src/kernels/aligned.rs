//! Memory that begins at a cache line, so that no vector lies across two.

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Values that [`line_start`] may skip.
pub const SLACK: usize = LINE / size_of::<f32>();

/// Index of the first value that begins a cache line, below [`SLACK`].
pub fn line_start(values: &[f32]) -> usize {
    values.as_ptr().align_offset(LINE).min(SLACK - 1)
}

/// Values from the start of a cache line on.
#[derive(Debug)]
pub(super) struct Aligned {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(super) fn zeros(len: usize) -> Self {
        let values = vec![0.0; len + SLACK];
        let start = line_start(&values);
        Self { values, start, len }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }
}
