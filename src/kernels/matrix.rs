//! A mutable view of a matrix that several threads fill, each its own rows and columns.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

/// Exclusive access to rows of `columns` values, `stride` apart.
#[derive(Debug)]
pub(super) struct MatMut<'a, T = f32> {
    start: *mut T,
    rows: usize,
    columns: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: a MatMut has exclusive access to its values, like `&mut [T]`, which is Send.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: a `&MatMut` gives access to the sizes alone.
unsafe impl<T: Send> Sync for MatMut<'_, T> {}

impl<'a, T> MatMut<'a, T> {
    /// All of `values`, as consecutive rows of `columns` values.
    ///
    /// # Panics
    /// If that is not a whole number of rows.
    pub(super) fn new(values: &'a mut [T], columns: usize) -> Self {
        let rows = values.len() / columns.max(1);
        assert_eq!(rows * columns, values.len());
        Self {
            start: values.as_mut_ptr(),
            rows,
            columns,
            stride: columns,
            lifetime: PhantomData,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Distance from the start of a row to the start of the next, in values.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// A pointer to a row, valid for `columns` values.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub(super) fn row_ptr(&mut self, row: usize) -> *mut T {
        assert!(row < self.rows);
        // SAFETY: row < rows, so the offset stays inside the values given to `new`.
        unsafe { self.start.add(row * self.stride) }
    }

    #[inline(always)]
    pub(super) fn row(&mut self, row: usize) -> &mut [T] {
        let (start, columns) = (self.row_ptr(row), self.columns);
        // SAFETY: a row has `columns` values, borrowed from `self` alone.
        unsafe { std::slice::from_raw_parts_mut(start, columns) }
    }

    /// All values, if no others lie between the rows.
    #[inline(always)]
    pub(super) fn contiguous(&mut self) -> Option<&mut [T]> {
        (self.stride == self.columns).then(|| {
            // SAFETY: the rows follow each other, borrowed from `self` alone.
            unsafe { std::slice::from_raw_parts_mut(self.start, self.rows * self.columns) }
        })
    }

    /// A view of some of the rows and columns, which borrows `self`.
    ///
    /// # Panics
    /// If there are no such rows or columns.
    #[inline(always)]
    pub(super) fn window(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatMut<'_, T> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(columns.start <= columns.end && columns.end <= self.columns);
        MatMut {
            start: self
                .start
                .wrapping_add(rows.start * self.stride + columns.start),
            rows: rows.len(),
            columns: columns.len(),
            stride: self.stride,
            lifetime: PhantomData,
        }
    }

    /// The rows above `at`, and the rest.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub(super) fn split_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows);
        let below = Self {
            // Less than a stride may follow the last row of a window, so this address can lie
            // outside of the allocation; then the view has no rows.
            start: self.start.wrapping_add(at * self.stride),
            rows: self.rows - at,
            ..self
        };
        (Self { rows: at, ..self }, below)
    }

    /// The columns left of `at`, and the rest.
    ///
    /// # Panics
    /// If there are fewer columns.
    pub(super) fn split_columns(self, at: usize) -> (Self, Self) {
        assert!(at <= self.columns);
        let right = Self {
            start: self.start.wrapping_add(at),
            columns: self.columns - at,
            ..self
        };
        (
            Self {
                columns: at,
                ..self
            },
            right,
        )
    }
}
