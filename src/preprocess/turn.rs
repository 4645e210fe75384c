//! Turns of large images, so that many threads that decode at once do not fill the memory.

use std::sync::{Condvar, Mutex, PoisonError};

/// Images with at most so many pixels do not wait, and are not counted.
const SMALL: u64 = 24_000_000;

/// Pixels of larger images that are decoded at the same time. One with more has the turn alone.
const AT_ONCE: u64 = 150_000_000;

static PIXELS: Mutex<u64> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The permission to decode an image, until it is dropped.
///
/// Whoever has it decodes and waits for nothing, so the next one comes.
#[must_use]
pub(super) struct Turn {
    pixels: u64,
}

impl Turn {
    /// Waits until there is room for an image of so many pixels.
    pub(super) fn take(pixels: u64) -> Self {
        if pixels <= SMALL {
            return Self { pixels: 0 };
        }
        let counted = PIXELS.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |counted: &mut u64| *counted > 0 && *counted + pixels > AT_ONCE;
        let mut counted = FREED
            .wait_while(counted, is_full)
            .unwrap_or_else(PoisonError::into_inner);
        *counted += pixels;
        Self { pixels }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.pixels > 0 {
            *PIXELS.lock().unwrap_or_else(PoisonError::into_inner) -= self.pixels;
            FREED.notify_all();
        }
    }
}
