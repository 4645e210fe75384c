//! Tiles where the machine multiplies by element: four inputs of a column are loaded at once, and each is
//! multiplied with the weights of one or two vectors of its group.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "plain loops of constant length, which become registers"
)]

use super::operand::Source;
use super::tile::{Outputs, Sharing, Task};
use crate::kernels::element::{Element, Word};
use crate::kernels::simd::{Kernel, Simd};

/// Most outputs of a tile: with two vectors of sums for each, their columns and a weight they fill 32
/// registers.
pub(super) const MOST: usize = 8;

/// Inputs of a column that are loaded at once.
const FOUR: usize = 4;

impl<W: Word> Task<'_, '_, W> {
    /// `count` outputs of a row in tiles of nearly equal width.
    #[inline(always)]
    pub(super) fn by_element<S: Simd>(&mut self, simd: S, outputs: Outputs, count: usize) {
        let tiles = count.div_ceil(MOST);
        let (least, wider) = (count / tiles, count % tiles);
        let mut start = outputs.start;
        for index in 0..tiles {
            let count = least + usize::from(index < wider);
            let outputs = Outputs { start, ..outputs };
            macro_rules! of_outputs {
                ($($outputs:literal)*) => {
                    match count {
                        $($outputs => simd.run(Tile::<W, $outputs> { task: self, outputs }),)*
                        _ => unreachable!("a tile has up to 8 outputs"),
                    }
                };
            }
            of_outputs!(1 2 3 4 5 6 7 8);
            start += count * outputs.spacing;
        }
    }
}

/// `P` outputs of a row, for all vectors of the task. A kernel, and so a function of its own.
struct Tile<'t, 'a, 'y, W: Word, const P: usize> {
    task: &'t mut Task<'a, 'y, W>,
    outputs: Outputs,
}

impl<W: Word, const P: usize> Kernel for Tile<'_, '_, '_, W, P> {
    type Output = ();
    type Element = W::Element;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let sharing = self.outputs.sharing;
        match (self.task.call.conv.pairs, sharing) {
            (true, Sharing::All) => self.vectors::<S, 2, 1>(simd),
            (true, _) => self.vectors::<S, 2, 2>(simd),
            (false, Sharing::All) => self.vectors::<S, 1, 1>(simd),
            (false, _) => self.vectors::<S, 1, 2>(simd),
        }
    }
}

impl<W: Word, const P: usize> Tile<'_, '_, '_, W, P> {
    /// `V` vectors at a time; from output to output there are `STEP` columns.
    #[inline(always)]
    fn vectors<S: Simd, const V: usize, const STEP: usize>(self, simd: S) {
        let Self { task, outputs } = self;
        let (call, conv) = (task.call, task.call.conv);
        let geometry = &conv.geometry;
        let (inputs, depth) = (geometry.inputs, geometry.group_inputs());
        let columns = call.columns(outputs, STEP * (P - 1) + 3);
        // What the unchecked accesses below rely on.
        assert!(conv.zeros.len() == inputs && columns.rows.end <= 3);
        assert!(conv.weights.len() >= task.vectors.end * 3 * depth * 3 * S::LANES);
        assert!(conv.bias.len() >= task.vectors.end * S::LANES);
        assert!(task.vectors.len().is_multiple_of(V));
        let first = (outputs.row - task.rows.start) * call.output_width + outputs.start;
        let stride = task.y.stride() * outputs.spacing;
        let end = task.y.row_ptr(first + (P - 1) * outputs.spacing);
        let y = end.wrapping_sub((P - 1) * stride);
        let width = task.y.columns();
        let first_channel = conv.layout.channel(task.vectors.start);
        for vector in task.vectors.clone().step_by(V) {
            let Source::Splat(base) = conv.sources[vector] else {
                unreachable!("every vector is in one group");
            };
            let channel = conv.layout.channel(vector) - first_channel;
            assert!(base + depth <= inputs && channel + V * S::LANES <= width);
            let mut sums = [[simd.splat(0.0); P]; V];
            // SAFETY: a column is valid for reading the inputs of a pixel, of which these are the group's;
            // every vector has its bias and, for three rows of taps, the weights of three taps of each input.
            unsafe {
                for v in 0..V {
                    let bias = conv.bias.as_ptr().add((vector + v) * S::LANES);
                    sums[v] = [simd.load_unchecked(bias); P];
                }
                let len = depth * 3 * S::LANES;
                for ky in columns.rows.clone() {
                    let places = &columns.places[ky];
                    let mut weights = conv.weights.as_ptr().add((vector * 3 + ky) * len);
                    let mut j = base;
                    while j + FOUR <= base + depth {
                        four::<S, W, P, V, STEP>(simd, places, j, weights, 3 * len, &mut sums);
                        weights = weights.add(FOUR * 3 * S::LANES);
                        j += FOUR;
                    }
                    while j < base + depth {
                        one::<S, W, P, V, STEP>(simd, places, j, weights, 3 * len, &mut sums);
                        weights = weights.add(3 * S::LANES);
                        j += 1;
                    }
                }
            }
            for v in 0..V {
                let sums = call.activated(simd, sums[v]);
                let mut to = y.wrapping_add(channel + v * S::LANES);
                for p in 0..P {
                    // SAFETY: the outputs are rows of `y`, which have these channels.
                    unsafe { W::Element::store(simd, sums[p], to) };
                    to = to.wrapping_add(stride);
                }
            }
        }
    }
}

/// Adds the products of four inputs, from `j` on: tap by tap, so that few weights are in registers. Those of
/// the second vector are `distance` words after those of the first.
///
/// # Safety
/// `STEP * (P - 1) + 3` places are valid for reading words up to the last of these inputs, and as many vectors
/// of weights as there are inputs and taps.
#[inline(always)]
unsafe fn four<S: Simd, W: Word, const P: usize, const V: usize, const STEP: usize>(
    simd: S,
    places: &[*const W],
    j: usize,
    weights: *const W,
    distance: usize,
    sums: &mut [[S::V; P]; V],
) {
    // SAFETY: as the caller guarantees.
    unsafe {
        // Of the first tap of every output; then those of the next one, column by column.
        let mut columns = [simd.splat(0.0); P];
        for p in 0..P {
            columns[p] = load(simd, places[STEP * p], j);
        }
        let weights = Weights { weights, distance };
        weights.tap::<S, P, V>(simd, 0, &columns, sums);
        if STEP == 1 {
            shift(&mut columns, load(simd, places[P], j));
            weights.tap::<S, P, V>(simd, 1, &columns, sums);
        } else {
            let mut middle = [simd.splat(0.0); P];
            for p in 0..P {
                middle[p] = load(simd, places[2 * p + 1], j);
            }
            weights.tap::<S, P, V>(simd, 1, &middle, sums);
        }
        shift(&mut columns, load(simd, places[STEP * (P - 1) + 2], j));
        weights.tap::<S, P, V>(simd, 2, &columns, sums);
    }
}

/// Four inputs of a column.
///
/// # Safety
/// They are valid for reading.
#[inline(always)]
unsafe fn load<S: Simd, W: Word>(simd: S, place: *const W, j: usize) -> S::V {
    // SAFETY: as the caller guarantees.
    unsafe { W::load_inputs(simd, place.add(j).cast()) }
}

/// Drops the first value and adds one at the end.
#[inline(always)]
fn shift<V: Copy, const P: usize>(values: &mut [V; P], last: V) {
    for p in 1..P {
        values[p - 1] = values[p];
    }
    values[P - 1] = last;
}

/// The weights of four inputs.
#[derive(Clone, Copy)]
struct Weights<W> {
    weights: *const W,
    /// Words from those of a vector to those of the next.
    distance: usize,
}

impl<W: Word> Weights<W> {
    /// Adds the products of a tap.
    ///
    /// # Safety
    /// As [`four`].
    #[inline(always)]
    unsafe fn tap<S: Simd, const P: usize, const V: usize>(
        self,
        simd: S,
        tap: usize,
        columns: &[S::V; P],
        sums: &mut [[S::V; P]; V],
    ) {
        macro_rules! of_input {
            ($input:literal) => {
                for v in 0..V {
                    let at = v * self.distance + ($input * 3 + tap) * S::LANES;
                    // SAFETY: as the caller guarantees.
                    let weights = unsafe { W::load(simd, self.weights.add(at)) };
                    for p in 0..P {
                        let sum = &mut sums[v][p];
                        *sum =
                            W::multiply_add_element::<S, $input>(simd, columns[p], weights, *sum);
                    }
                }
            };
        }
        of_input!(0);
        of_input!(1);
        of_input!(2);
        of_input!(3);
    }
}

/// As [`four`], for a single input.
///
/// # Safety
/// As [`four`].
#[inline(always)]
unsafe fn one<S: Simd, W: Word, const P: usize, const V: usize, const STEP: usize>(
    simd: S,
    places: &[*const W],
    j: usize,
    weights: *const W,
    distance: usize,
    sums: &mut [[S::V; P]; V],
) {
    for tap in 0..3 {
        // SAFETY: as the caller guarantees.
        unsafe {
            let mut taps = [simd.splat(0.0); V];
            for v in 0..V {
                taps[v] = W::load(simd, weights.add(v * distance + tap * S::LANES));
            }
            for p in 0..P {
                let x = W::splat(simd, places[STEP * p + tap].add(j).cast());
                for v in 0..V {
                    sums[v][p] = W::multiply_add(simd, x, taps[v], sums[v][p]);
                }
            }
        }
    }
}
