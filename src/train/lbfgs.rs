//! Minimises a smooth convex function: L-BFGS (Nocedal and Wright, Numerical Optimization,
//! algorithm 7.5).

use std::collections::VecDeque;

/// Steps that the curvature is estimated from, as in SciPy.
const MEMORY: usize = 10;

/// Most evaluations of one line search.
const TRIALS: usize = 30;

/// A step must leave no more than this share of the slope.
const SLOPE: f64 = 0.9;

/// Where the slope has turned by more than this share of it, the value must have fallen by as large a
/// share of what the slope promised.
const TURNED: f64 = 0.1;
const DECREASE: f64 = 1e-4;

/// Most steps. Those at the end are small, so that a result of so many is of use.
const ITERATIONS: usize = 10_000;

/// The search is over after so many steps without progress: the lowest value so far, by more than
/// sums in f32 can tell, or the smallest gradient.
const STALLED: usize = 100;
const PROGRESS: f64 = 1e-6;

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Minimum {
    pub iterations: usize,
    /// Whether it is the minimum as far as was asked for: otherwise the values are too inexact to
    /// come closer.
    pub reached: bool,
}

/// A step, the change of the gradient along it, and the inverse of their product.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse: f64,
}

/// Moves `x` to the minimum of `function`, which writes the gradient and returns the value, and
/// may give up with an error; close enough where `done` says so of `x` and the gradient.
pub(super) fn minimise<E>(
    x: &mut [f64],
    done: impl Fn(&[f64], &[f64]) -> bool,
    mut function: impl FnMut(&[f64], &mut [f64]) -> Result<f64, E>,
) -> Result<Minimum, E> {
    let mut gradient = vec![0.0; x.len()];
    let mut value = function(x, &mut gradient)?;
    let mut iterations = 0;
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    let mut direction = vec![0.0; x.len()];
    let mut there = vec![0.0; x.len()];
    let mut gradient_there = vec![0.0; x.len()];
    let mut reached = done(x, &gradient);
    let mut best = (value, dot(&gradient, &gradient));
    let mut stalled = 0;
    while !reached && iterations < ITERATIONS && stalled < STALLED {
        descend(&pairs, &gradient, &mut direction);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 || slope.is_nan() {
            pairs.clear();
            descend(&pairs, &gradient, &mut direction);
            slope = dot(&direction, &gradient);
        }
        let mut search = Search::new(value, slope);
        let first = if pairs.is_empty() {
            dot(&gradient, &gradient).sqrt().recip().min(1.0)
        } else {
            1.0
        };
        let mut size = Some(first);
        let mut found = false;
        while let Some(step) = size {
            for ((there, &x), &direction) in there.iter_mut().zip(&*x).zip(&direction) {
                *there = x + step * direction;
            }
            let value_there = function(&there, &mut gradient_there)?;
            size = search.next(step, value_there, dot(&direction, &gradient_there));
            if size.is_none() {
                found = search.found;
                value = if found { value_there } else { value };
            }
        }
        if !found {
            if pairs.is_empty() {
                break;
            }
            // What is remembered may mislead: try again from the gradient alone.
            pairs.clear();
            continue;
        }
        iterations += 1;
        let mut pair = if pairs.len() == MEMORY {
            pairs.pop_front()
        } else {
            None
        }
        .unwrap_or_else(|| Pair {
            step: vec![0.0; x.len()],
            change: vec![0.0; x.len()],
            inverse: 0.0,
        });
        difference(&there, x, &mut pair.step);
        difference(&gradient_there, &gradient, &mut pair.change);
        let curvature = dot(&pair.step, &pair.change);
        if curvature > f64::EPSILON * dot(&pair.change, &pair.change) {
            pair.inverse = curvature.recip();
            pairs.push_back(pair);
        }
        x.copy_from_slice(&there);
        std::mem::swap(&mut gradient, &mut gradient_there);
        reached = done(x, &gradient);
        let square = dot(&gradient, &gradient);
        let progress = value < best.0 - PROGRESS * best.0.abs() || square < best.1;
        stalled = if progress { 0 } else { stalled + 1 };
        if progress {
            best = (best.0.min(value), best.1.min(square));
        }
    }
    Ok(Minimum {
        iterations,
        reached,
    })
}

/// The direction of the two-loop recursion.
fn descend(pairs: &VecDeque<Pair>, gradient: &[f64], direction: &mut [f64]) {
    direction
        .iter_mut()
        .zip(gradient)
        .for_each(|(to, &x)| *to = -x);
    let mut shares = [0.0; MEMORY];
    for (pair, share) in pairs.iter().zip(&mut shares).rev() {
        *share = pair.inverse * dot(&pair.step, direction);
        add(direction, -*share, &pair.change);
    }
    if let Some(last) = pairs.back() {
        let scale = (last.inverse * dot(&last.change, &last.change)).recip();
        direction.iter_mut().for_each(|x| *x *= scale);
    }
    for (pair, share) in pairs.iter().zip(&shares) {
        let other = pair.inverse * dot(&pair.change, direction);
        add(direction, share - other, &pair.step);
    }
}

/// Searches a step along a direction that satisfies the strong Wolfe conditions (the same book,
/// section 3.5). The function is convex, so the sign of the slope says on which side the minimum lies,
/// and the value has fallen where the slope has not turned. So differences of values, which are noise near
/// the minimum, are looked at only after a step that is clearly too long.
struct Search {
    value: f64,
    slope: f64,
    /// The longest step that is too short, and its slope.
    low: (f64, f64),
    /// The shortest step that is too long, and its slope.
    high: Option<(f64, f64)>,
    trials: usize,
    found: bool,
}

impl Search {
    fn new(value: f64, slope: f64) -> Self {
        Self {
            value,
            slope,
            low: (0.0, slope),
            high: None,
            trials: 0,
            found: false,
        }
    }

    /// The next step to try after this one; `None` if this is the right one or there is none.
    fn next(&mut self, step: f64, value: f64, slope: f64) -> Option<f64> {
        self.trials += 1;
        let falls = slope <= TURNED * self.slope.abs()
            || value <= self.value + DECREASE * step * self.slope;
        if falls && slope.abs() <= SLOPE * self.slope.abs() {
            self.found = true;
            return None;
        }
        if self.trials == TRIALS {
            return None;
        }
        if slope < 0.0 {
            self.low = (step, slope);
        } else {
            self.high = Some((step, slope));
        }
        let (low, low_slope) = self.low;
        Some(match self.high {
            None => {
                // Where a straight line through the slopes is 0.
                let before = if low_slope > self.slope {
                    step * self.slope / (self.slope - low_slope)
                } else {
                    f64::INFINITY
                };
                before.clamp(2.0 * step, 10.0 * step)
            }
            Some((high, high_slope)) => {
                let zero = low - low_slope * (high - low) / (high_slope - low_slope);
                let margin = 0.1 * (high - low);
                if zero.is_finite() {
                    zero.clamp(low + margin, high - margin)
                } else {
                    // The step was so long that the function overflowed.
                    low + 0.1 * (high - low)
                }
            }
        })
    }
}

/// In eight sums, which the compiler turns into vectors.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

fn add(to: &mut [f64], factor: f64, x: &[f64]) {
    to.iter_mut().zip(x).for_each(|(to, &x)| *to += factor * x);
}

fn difference(a: &[f64], b: &[f64], to: &mut [f64]) {
    for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
        *to = a - b;
    }
}
