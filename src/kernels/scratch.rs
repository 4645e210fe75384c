//! Memory that a thread keeps from call to call.

use std::cell::RefCell;

use super::aligned::Aligned;

/// Calls `work` with `len` values of whatever was left in them.
///
/// Must not be called inside `work`, nor may `work` hand tasks to other threads: a thread that
/// waits for them may be given a task that wants the same memory.
pub(super) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Aligned> = RefCell::new(Aligned::zeros(0));
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            *scratch = Aligned::zeros(len);
        }
        work(&mut scratch[..len])
    })
}
