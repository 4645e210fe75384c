//! SHA-256 of bytes as they come, in a thread of its own: receiving and writing go on meanwhile.

use std::mem;
use std::panic;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use sha2::{Digest as _, Sha256};

use crate::weights::hexadecimal;

/// Pieces that may wait to be hashed. More would not make it faster, only take memory.
const QUEUE: usize = 4;

/// The hash of everything that it was given.
#[derive(Default)]
pub(super) struct Hashing {
    /// Up to where the thread has begun.
    hasher: Sha256,
    thread: Option<Thread>,
}

struct Thread {
    bytes: SyncSender<Vec<u8>>,
    /// Buffers to be filled again.
    used: Receiver<Vec<u8>>,
    result: JoinHandle<Sha256>,
}

impl Hashing {
    /// Adds bytes. It waits where hashing does not keep up.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let thread = self
            .thread
            .get_or_insert_with(|| Thread::start(mem::take(&mut self.hasher)));
        let mut buffer = thread.used.try_recv().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        // It takes all as long as it lives, and if it has failed, `hex` fails.
        drop(thread.bytes.send(buffer));
    }

    /// The hash in 64 hexadecimal digits.
    pub(super) fn hex(&mut self) -> String {
        if let Some(Thread { bytes, result, .. }) = self.thread.take() {
            drop(bytes);
            self.hasher = result
                .join()
                .unwrap_or_else(|why| panic::resume_unwind(why));
        }
        hexadecimal(&self.hasher.clone().finalize())
    }
}

impl Thread {
    fn start(mut hasher: Sha256) -> Self {
        let (bytes, incoming) = mpsc::sync_channel::<Vec<u8>>(QUEUE);
        let (outgoing, used) = mpsc::channel();
        let result = thread::spawn(move || {
            for piece in incoming {
                hasher.update(&piece);
                drop(outgoing.send(piece));
            }
            hasher
        });
        Self {
            bytes,
            used,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_all_pieces_and_may_be_asked_for_between_them() {
        let mut hashing = Hashing::default();
        let mut whole = Vec::new();
        for count in [0_u8, 1, 7, 20] {
            for number in 0..count {
                let piece = vec![number; 1000 * usize::from(number)];
                hashing.add(&piece);
                whole.extend(piece);
            }
            let expected = hexadecimal(&Sha256::digest(&whole));
            assert_eq!(hashing.hex(), expected);
            assert_eq!(hashing.hex(), expected);
        }
    }
}
