//! Decoding ahead of the network.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};

use rayon::prelude::*;

/// A batch of inputs, of which those that could be prepared lie one after another in `values`.
#[derive(Debug)]
pub struct Prepared<E> {
    /// Index of the batch's first input.
    pub first: usize,
    /// One outcome for each input of the batch, in order.
    pub outcomes: Vec<Result<(), E>>,
    pub values: Vec<f32>,
}

/// Prepares `items` in batches on the threads of the current pool and hands them to `consume` in
/// order, one batch ahead: while the network works on one, the next is decoded.
///
/// `prepare` writes one item into a slot of `slot_len` values; an item it fails on leaves no gap.
/// Ends early when `consume` breaks.
pub fn prepare_ahead<T: Sync, E: Send>(
    items: &[T],
    batch_size: usize,
    slot_len: usize,
    prepare: impl Fn(&T, &mut [f32]) -> Result<(), E> + Sync + Send,
    mut consume: impl FnMut(Prepared<E>) -> ControlFlow<()>,
) {
    prepare_beside(items, batch_size, slot_len, prepare, |batches| {
        for prepared in batches {
            if consume(prepared).is_break() {
                return;
            }
        }
    });
}

/// As [`prepare_ahead`], beside all that `work` does: it may load the network before it takes the
/// first batch. Ends early when `work` returns.
pub fn prepare_beside<T: Sync, E: Send, R>(
    items: &[T],
    batch_size: usize,
    slot_len: usize,
    prepare: impl Fn(&T, &mut [f32]) -> Result<(), E> + Sync + Send,
    work: impl FnOnce(Receiver<Prepared<E>>) -> R,
) -> R {
    let batch_size = batch_size.max(1);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            for (index, items) in items.chunks(batch_size).enumerate() {
                let mut values = vec![0.0; items.len() * slot_len];
                let slots = values.par_chunks_exact_mut(slot_len.max(1));
                let outcomes: Vec<Result<(), E>> = items
                    .par_iter()
                    .zip(slots)
                    .map(|(item, slot)| prepare(item, slot))
                    .collect();
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
        prepare_ahead(&items, 4, 2, prepare, |batch| {
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
    fn stops_when_told() {
        let items = [0_u8; 100];
        let mut batches = 0;
        prepare_ahead(
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
