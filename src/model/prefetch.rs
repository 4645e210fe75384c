//! Prefetching: decodes the next batch while the network works on one.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

/// A batch of inputs.
#[derive(Debug)]
pub(crate) struct Prepared<E> {
    /// Index of the batch's first input.
    pub first: usize,
    /// One outcome for each input of the batch, in order.
    pub outcomes: Vec<Result<(), E>>,
    /// The values of the inputs that could be prepared, one after another.
    pub values: Vec<f32>,
}

/// Prepares `items` in batches on the threads of rayon's global pool and hands them to `consume` in
/// order. While `consume` works on one batch, the next is prepared.
///
/// `prepare` writes one item into a slot of `slot_len` values; an item that fails leaves no gap.
/// Ends early when `consume` breaks.
pub(crate) fn prefetch<T: Sync, E: Send>(
    items: &[T],
    batch_size: usize,
    slot_len: usize,
    prepare: impl Fn(&T, &mut [f32]) -> Result<(), E> + Sync + Send,
    mut consume: impl FnMut(Prepared<E>) -> ControlFlow<()>,
) {
    let waits = |_: &T| false;
    prefetch_while(items, batch_size, slot_len, waits, prepare, |batches| {
        for prepared in batches {
            if consume(prepared).is_break() {
                return;
            }
        }
    });
}

/// Most items that wait for other machines at the same time.
const REQUESTS: usize = 8;

/// As [`prefetch`], while `work` runs, which may load the network before it takes the first batch.
/// Ends early when `work` returns.
///
/// Items that wait for another machine, by `waits`, are prepared on threads of their own: a slow
/// server must not stall the network.
pub(crate) fn prefetch_while<T: Sync, E: Send, R>(
    items: &[T],
    batch_size: usize,
    slot_len: usize,
    waits: impl Fn(&T) -> bool + Send,
    prepare: impl Fn(&T, &mut [f32]) -> Result<(), E> + Sync + Send,
    work: impl FnOnce(Receiver<Prepared<E>>) -> R,
) -> R {
    let batch_size = batch_size.max(1);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            for (index, items) in items.chunks(batch_size).enumerate() {
                let mut values = vec![0.0; items.len() * slot_len];
                let slots = values.chunks_exact_mut(slot_len.max(1));
                let outcomes = prepare_all(items, slots, &waits, &prepare);
                close_gaps(&mut values, slot_len, &outcomes);
                let prepared = Prepared {
                    first: index * batch_size,
                    outcomes,
                    values,
                };
                if sender.send(prepared).is_err() {
                    return;
                }
            }
        });
        work(receiver)
    })
}

/// Prepares each item in its slot.
fn prepare_all<'a, T: Sync, E: Send>(
    items: &[T],
    slots: impl Iterator<Item = &'a mut [f32]>,
    waits: impl Fn(&T) -> bool,
    prepare: impl Fn(&T, &mut [f32]) -> Result<(), E> + Sync,
) -> Vec<Result<(), E>> {
    let (waiting, ready): (Vec<_>, Vec<_>) = (0..)
        .zip(items.iter().zip(slots))
        .partition(|(_, (item, _))| waits(item));
    let run = |(index, (item, slot)): (usize, (&T, &mut [f32]))| (index, prepare(item, slot));
    let requests = waiting.len().min(REQUESTS);
    let waiting = Mutex::new(waiting.into_iter());
    let mut outcomes: Vec<(usize, Result<(), E>)> = std::thread::scope(|scope| {
        let request = || {
            let next = || {
                waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .next()
            };
            std::iter::from_fn(next).map(run).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..requests).map(|_| scope.spawn(request)).collect();
        let mut outcomes: Vec<_> = ready.into_par_iter().map(run).collect();
        for thread in threads {
            outcomes.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        outcomes
    });
    outcomes.sort_unstable_by_key(|&(index, _)| index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Moves the slots of the items that succeeded together.
fn close_gaps<E>(values: &mut Vec<f32>, slot_len: usize, outcomes: &[Result<(), E>]) {
    let mut kept = 0;
    for (index, _) in outcomes
        .iter()
        .enumerate()
        .filter(|(_, outcome)| outcome.is_ok())
    {
        if kept != index {
            values.copy_within(index * slot_len..(index + 1) * slot_len, kept * slot_len);
        }
        kept += 1;
    }
    values.truncate(kept * slot_len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_closes_gaps() {
        let items: Vec<u32> = (0..11).collect();
        let prepare = |&item: &u32, slot: &mut [f32]| {
            slot.fill(item as f32);
            if item % 3 == 1 { Err(item) } else { Ok(()) }
        };
        let (mut good, mut bad, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
        prefetch(&items, 4, 2, prepare, |batch| {
            firsts.push(batch.first);
            good.extend(batch.values);
            bad.extend(batch.outcomes.into_iter().filter_map(Result::err));
            ControlFlow::Continue(())
        });
        assert_eq!(firsts, [0, 4, 8]);
        assert_eq!(bad, [1, 4, 7, 10]);
        let expected: Vec<f32> = [0, 2, 3, 5, 6, 8, 9]
            .iter()
            .flat_map(|&i| [i as f32; 2])
            .collect();
        assert_eq!(good, expected);
    }

    #[test]
    fn waiting_items_do_not_block_the_pool() {
        use std::time::Duration;
        // More items than threads in the pool: if they waited there, `work` could not run.
        let items: Vec<usize> = (0..rayon::current_num_threads() * 2 + 3).collect();
        let (sender, receiver) = std::sync::mpsc::channel();
        let receiver = Mutex::new(receiver);
        let wait = |&item: &usize, slot: &mut [f32]| {
            slot.fill(item as f32);
            if item % 2 == 0 {
                return Ok(());
            }
            let receiver = receiver.lock().unwrap();
            receiver.recv_timeout(Duration::from_secs(30))
        };
        let waits = |item: &usize| item % 2 == 1;
        let batch = prefetch_while(&items, items.len(), 1, waits, wait, |batches| {
            let sum: u64 = (0..10_000_u64).into_par_iter().sum();
            assert_eq!(sum, 49_995_000);
            for _ in &items {
                sender.send(()).unwrap();
            }
            batches.recv().unwrap()
        });
        assert!(batch.outcomes.iter().all(Result::is_ok));
        let expected: Vec<f32> = items.iter().map(|&item| item as f32).collect();
        assert_eq!(batch.values, expected);
    }

    #[test]
    fn stops_when_the_consumer_breaks() {
        let items = [0_u8; 100];
        let mut batches = 0;
        prefetch(
            &items,
            1,
            1,
            |_, _| Ok::<(), ()>(()),
            |_| {
                batches += 1;
                if batches == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        assert_eq!(batches, 3);
    }
}
