//! Scratch memory that a thread keeps from call to call.

use std::cell::RefCell;

use bytemuck::Pod;

use super::aligned::Aligned;

/// Calls `work` with `len` values of arbitrary content.
///
/// Calls must not nest, and `work` must not wait for other threads: meanwhile this one may be given
/// a task that wants the same memory.
pub(super) fn with_scratch<T: Pod, R>(len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Aligned> = RefCell::new(Aligned::zeros(0));
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let words = (len * size_of::<T>()).div_ceil(size_of::<f32>());
        if scratch.len() < words {
            *scratch = Aligned::zeros(words);
        }
        work(&mut bytemuck::cast_slice_mut(&mut scratch[..words])[..len])
    })
}
