//! Pooling in Candle's operations.

use candle_core::{Result, Tensor};

use crate::kernels::Pool;

/// As [`Pool::run`].
pub(in crate::nn) fn pool(pool: Pool, x: &Tensor) -> Result<Tensor> {
    match pool {
        Pool::MaxPad => {
            repeat_border(&repeat_border(x, 2, 1, 1)?, 3, 1, 1)?.max_pool2d_with_stride(3, 2)
        }
        Pool::MaxCeil => {
            let (_, _, height, width) = x.dims4()?;
            // One more row makes the last window whole; for odd sizes it already is.
            let x = repeat_border(x, 2, 0, (height + 1) % 2)?;
            repeat_border(&x, 3, 0, (width + 1) % 2)?.max_pool2d_with_stride(3, 2)
        }
        Pool::Average => x.avg_pool2d(2),
        Pool::AverageCeil => repeat_last(&repeat_last(x, 2)?, 3)?.avg_pool2d(2),
    }
}

/// Repeats the last row or column if their number is odd: the mean of a row and its copy is its own
/// mean.
fn repeat_last(x: &Tensor, axis: usize) -> Result<Tensor> {
    let size = x.dim(axis)?;
    if size.is_multiple_of(2) {
        Ok(x.clone())
    } else {
        Tensor::cat(&[x, &x.narrow(axis, size - 1, 1)?], axis)
    }
}

/// Repeats the outer rows or columns. A window that reaches over the border has the repeated row
/// already, so that its maximum stays as it is.
fn repeat_border(x: &Tensor, axis: usize, before: usize, after: usize) -> Result<Tensor> {
    match (before, after) {
        (0, 0) => Ok(x.clone()),
        (before, after) => x.pad_with_same(axis, before, after),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// `[1, 1, h, w]` with negative values only, so that a padding of zero would show.
    fn map(height: usize, width: usize) -> (Tensor, Vec<Vec<f32>>) {
        let rows: Vec<Vec<f32>> = (0..height)
            .map(|y| {
                (0..width)
                    .map(|x| -1.0 - ((y * 31 + x * 17) % 23) as f32)
                    .collect()
            })
            .collect();
        let tensor = Tensor::from_vec(rows.concat(), (1, 1, height, width), &Device::Cpu).unwrap();
        (tensor, rows)
    }

    /// Windows written out: every pixel of the window that exists.
    fn windows(
        rows: &[Vec<f32>],
        output: (usize, usize),
        size: usize,
        padding: usize,
        reduce: impl Fn(&[f32]) -> f32,
    ) -> Vec<Vec<f32>> {
        let inside = |start: usize, limit: usize| {
            (start * 2..start * 2 + size)
                .filter_map(move |i| i.checked_sub(padding))
                .filter(move |&i| i < limit)
        };
        (0..output.0)
            .map(|y| {
                (0..output.1)
                    .map(|x| {
                        let values: Vec<f32> = inside(y, rows.len())
                            .flat_map(|y| inside(x, rows[0].len()).map(move |x| (y, x)))
                            .map(|(y, x)| rows[y][x])
                            .collect();
                        reduce(&values)
                    })
                    .collect()
            })
            .collect()
    }

    fn max(values: &[f32]) -> f32 {
        values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    fn mean(values: &[f32]) -> f32 {
        values.iter().sum::<f32>() / values.len() as f32
    }

    #[test]
    fn pools_match_windows_written_out() {
        for (height, width) in [(2, 2), (2, 3), (3, 2), (5, 4), (7, 7), (8, 6), (9, 12)] {
            let (x, rows) = map(height, width);
            let found = |y: Tensor| {
                y.squeeze(0)
                    .unwrap()
                    .squeeze(0)
                    .unwrap()
                    .to_vec2::<f32>()
                    .unwrap()
            };
            let half_up = (height.div_ceil(2), width.div_ceil(2));
            let half_down = (height / 2, width / 2);
            assert_eq!(
                found(pool(Pool::MaxPad, &x).unwrap()),
                windows(&rows, half_up, 3, 1, max)
            );
            assert_eq!(
                found(pool(Pool::MaxCeil, &x).unwrap()),
                windows(&rows, half_down, 3, 0, max)
            );
            assert_eq!(
                found(pool(Pool::Average, &x).unwrap()),
                windows(&rows, half_down, 2, 0, mean)
            );
            assert_eq!(
                found(pool(Pool::AverageCeil, &x).unwrap()),
                windows(&rows, half_up, 2, 0, mean)
            );
        }
    }
}
