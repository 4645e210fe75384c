//! Checks of what goes into a network and of what comes out.

use candle_core::{D, DType, Device, Tensor};

use super::NetError;
use super::plan::Plan;
use crate::nn;

/// A batch that the network can be applied to.
pub(super) struct Input {
    /// Images.
    pub(super) batch: usize,
    height: usize,
    width: usize,
    /// As [`Plan::largest_map`].
    pub(super) largest: usize,
    /// The sum of all values, if a device computes it: to wait for it would cost time.
    pub(super) sum: Option<Tensor>,
}

impl Input {
    /// # Errors
    /// If the batch has another shape than `[N, C, height, width]`, a size that the network cannot take,
    /// or, on the CPU, values that are not finite.
    pub(super) fn check(plan: &Plan, x: &Tensor) -> Result<Self, NetError> {
        let channels = plan.inputs();
        let (batch, height, width) = match *x.dims() {
            [batch, found, height, width] if batch > 0 && found == channels => {
                (batch, height, width)
            }
            _ => {
                return Err(NetError::InputShape {
                    channels,
                    found: x.dims().to_vec(),
                });
            }
        };
        let largest = plan.largest_map(height, width)?;
        // Summing a strided view would be slow.
        let stored = nn::stored_channels_last(x)?;
        let sum = sum(stored.as_ref().unwrap_or(x))?;
        let sum = match x.device() {
            Device::Cpu if is_finite(&sum)? => None,
            Device::Cpu => return Err(NetError::InputNotFinite),
            _ => Some(sum),
        };
        Ok(Self {
            batch,
            height,
            width,
            largest,
            sum,
        })
    }

    /// The error of a device without memory for `images` images at once.
    pub(super) fn out_of_memory(&self, images: usize) -> NetError {
        NetError::OutOfMemory {
            images,
            height: self.height,
            width: self.width,
            bytes: images
                .saturating_mul(self.largest)
                .saturating_mul(size_of::<f32>()),
        }
    }
}

/// The sum of all values: it is finite if and only if all values are, unless it exceeds 3.4e38.
fn sum(x: &Tensor) -> Result<Tensor, NetError> {
    let x = x.to_dtype(DType::F32)?;
    Ok(match x.device() {
        Device::Cpu => x.sum_all()?,
        // Image by image first: for a single sum, a GPU uses a single block of threads.
        _ => x.flatten_from(1)?.sum(D::Minus1)?.sum_all()?,
    })
}

fn is_finite(sum: &Tensor) -> Result<bool, NetError> {
    Ok(sum.to_scalar::<f32>()?.is_finite())
}

/// Copies results to the CPU and checks them, with the sum of the input: only here is a device waited for.
pub(super) fn read(results: &Tensor, input_sum: Option<&Tensor>) -> Result<Tensor, NetError> {
    let device = results.device();
    let (results, input_sum) = match input_sum {
        None => {
            // Metal reports a failure of earlier work here alone.
            device.synchronize()?;
            (results.to_device(&Device::Cpu)?, None)
        }
        Some(sum) => {
            let all = Tensor::cat(&[&results.flatten_all()?, &sum.reshape(1)?], 0)?;
            device.synchronize()?;
            let all = all.to_device(&Device::Cpu)?;
            let count = results.elem_count();
            let values = all.narrow(0, 0, count)?.reshape(results.shape())?;
            (values, Some(all.get(count)?))
        }
    };
    if let Some(sum) = input_sum
        && !is_finite(&sum)?
    {
        return Err(NetError::InputNotFinite);
    }
    if is_finite(&sum(&results)?)? {
        Ok(results)
    } else {
        Err(NetError::NumbersNotFinite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device's sum of the input is read together with the results.
    #[test]
    fn the_sum_of_the_input_is_checked_with_the_results() {
        let results = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let sum = |value: f32| Tensor::new(value, &Device::Cpu).unwrap();
        let found = read(&results, Some(&sum(0.5))).unwrap();
        assert_eq!(found.to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        for value in [f32::NAN, f32::INFINITY] {
            let error = read(&results, Some(&sum(value))).unwrap_err();
            assert!(matches!(error, NetError::InputNotFinite), "{error}");
        }
        let damaged = Tensor::new(&[[1f32, f32::NAN]], &Device::Cpu).unwrap();
        for input in [None, Some(&sum(0.5))] {
            let error = read(&damaged, input).unwrap_err();
            assert!(matches!(error, NetError::NumbersNotFinite), "{error}");
        }
    }
}
