//! SHA-256 of bytes as they come, on a separate thread, so that receiving and writing continue.

use std::mem;
use std::panic;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use sha2::{Digest as _, Sha256};

use crate::digest::hexadecimal;

/// Bytes that are received, written and hashed at a time.
pub(super) const PIECE: usize = 256 * 1024;
/// Pieces that may wait to be hashed. More would not make it faster, only take memory.
const QUEUE: usize = 4;

/// The hash of everything that it was given.
#[derive(Default)]
pub(super) struct Hashing {
    /// The state before the thread was started.
    hasher: Sha256,
    thread: Option<Thread>,
}

struct Thread {
    pieces: SyncSender<(Vec<u8>, usize)>,
    /// Buffers to be filled again.
    used: Receiver<Vec<u8>>,
    result: JoinHandle<Sha256>,
}

impl Hashing {
    /// Adds the first `len` bytes of `buffer` and returns another buffer of [`PIECE`] bytes, whose
    /// contents are unspecified. Blocks if hashing does not keep up.
    pub(super) fn add(&mut self, buffer: Vec<u8>, len: usize) -> Vec<u8> {
        let thread = self
            .thread
            .get_or_insert_with(|| Thread::start(mem::take(&mut self.hasher)));
        // Sending fails only if the thread panicked, and then `hex` panics too.
        drop(thread.pieces.send((buffer, len)));
        thread.used.try_recv().unwrap_or_else(|_| vec![0; PIECE])
    }

    /// The hash in 64 hexadecimal digits.
    pub(super) fn hex(&mut self) -> String {
        if let Some(Thread { pieces, result, .. }) = self.thread.take() {
            drop(pieces);
            self.hasher = result
                .join()
                .unwrap_or_else(|why| panic::resume_unwind(why));
        }
        hexadecimal(&self.hasher.clone().finalize())
    }
}

impl Thread {
    fn start(mut hasher: Sha256) -> Self {
        let (pieces, incoming) = mpsc::sync_channel::<(Vec<u8>, usize)>(QUEUE);
        let (outgoing, used) = mpsc::channel();
        let result = thread::spawn(move || {
            for (buffer, len) in incoming {
                hasher.update(&buffer[..len]);
                drop(outgoing.send(buffer));
            }
            hasher
        });
        Self {
            pieces,
            used,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_all_pieces_so_far() {
        let mut hashing = Hashing::default();
        let mut buffer = vec![0; PIECE];
        let mut whole = Vec::new();
        for count in [0_u8, 1, 7, 20] {
            for number in 0..count {
                let len = 1000 * usize::from(number);
                buffer[..len].fill(number);
                whole.extend(&buffer[..len]);
                buffer = hashing.add(buffer, len);
                assert_eq!(buffer.len(), PIECE);
            }
            let expected = hexadecimal(&Sha256::digest(&whole));
            assert_eq!(hashing.hex(), expected);
            assert_eq!(hashing.hex(), expected);
        }
    }
}
