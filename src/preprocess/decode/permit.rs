//! Permits to decode large images, so that many threads decoding at once do not exhaust memory.

use std::sync::{Condvar, Mutex, PoisonError};

/// Images of at most this many pixels never wait and are not counted.
const SMALL: u64 = 24_000_000;

/// Total pixels of the larger images that are decoded at the same time. An image with more than
/// this is decoded alone.
const AT_ONCE: u64 = 150_000_000;

static PIXELS: Mutex<u64> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// The permission to decode an image, until it is dropped.
///
/// Its holder decodes without waiting for anything else, so permits are always returned.
#[must_use]
pub(super) struct Permit {
    pixels: u64,
}

impl Permit {
    /// Waits until there is room for an image of `pixels` pixels.
    pub(super) fn wait(pixels: u64) -> Self {
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

impl Drop for Permit {
    fn drop(&mut self) {
        if self.pixels > 0 {
            *PIXELS.lock().unwrap_or_else(PoisonError::into_inner) -= self.pixels;
            FREED.notify_all();
        }
    }
}
