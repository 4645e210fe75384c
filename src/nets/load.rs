//! Makes layers from a file's tensors: names and shapes must match, values must be finite, BatchNorm is
//! folded.

use std::sync::{Mutex, PoisonError};

use super::NetError;
use super::plan::{
    ConvGeometry, ConvPlan, LinearPlan, NormActPlan, NormPlan, SePlan, Shift, SkPlan,
};
use crate::nn::{Backend, BatchNorm, Conv, KernelAttention, Linear, SqueezeExcite};
use crate::weights::Weights;

/// Most values of a buffer that is kept for the next tensor.
const MOST_SPARE: usize = 1 << 22;

/// Makes layers for one backend from one file.
pub(super) struct Loader<'a> {
    weights: &'a Weights,
    backend: &'a Backend,
    /// Buffers for a tensor's values, one for each thread that has loaded a layer.
    spare: Mutex<Vec<Vec<f32>>>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(weights: &'a Weights, backend: &'a Backend) -> Self {
        Self {
            weights,
            backend,
            spare: Mutex::default(),
        }
    }

    /// Calls `work` with a tensor's values.
    fn with<R>(
        &self,
        name: &str,
        work: impl FnOnce(&mut [f32]) -> Result<R, NetError>,
    ) -> Result<R, NetError> {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values = spare().pop().unwrap_or_default();
        self.weights.f32_into(name, &mut values)?;
        let made = work(&mut values);
        if values.capacity() <= MOST_SPARE {
            spare().push(values);
        }
        made
    }

    /// A tensor's values. NaN or infinity would silently corrupt the output, so they are rejected.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>, NetError> {
        let values = self.weights.f32(name)?;
        match not_finite(&values) {
            Some(value) => Err(self.not_finite(name, value, "")),
            None => Ok(values),
        }
    }

    fn values_f64(&self, name: &str) -> Result<Vec<f64>, NetError> {
        let values = self.weights.f64(name)?;
        match values.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(self.not_finite(name, value, "")),
            None => Ok(values),
        }
    }

    fn not_finite(&self, name: &str, value: f64, reason: &'static str) -> NetError {
        let (source_name, tensor) = (self.weights.source_of(name).to_owned(), name.to_owned());
        NetError::NotFinite {
            source_name,
            tensor,
            value,
            reason,
        }
    }

    fn norm(&self, NormPlan { name, eps }: &NormPlan) -> Result<BatchNorm, NetError> {
        let part = |part: &str| self.values_f64(&format!("{name}.{part}"));
        let norm = BatchNorm {
            weight: part("weight")?,
            bias: part("bias")?,
            running_mean: part("running_mean")?,
            running_var: part("running_var")?,
            eps: *eps,
        };
        match norm.running_var.iter().find(|&&variance| variance < 0.0) {
            Some(&variance) => {
                let name = format!("{name}.running_var");
                Err(self.not_finite(&name, variance, "a variance is never negative"))
            }
            None => Ok(norm),
        }
    }

    /// With the filters' input channels in reverse order if `reversed`.
    pub(super) fn conv(&self, plan: &ConvPlan, reversed: bool) -> Result<Conv, NetError> {
        self.with_folded(plan, |filters, bias| {
            if reversed {
                reverse_inputs(filters, &plan.geometry);
            }
            zero_subnormals(filters);
            Ok(Conv::new(
                filters,
                bias,
                plan.geometry,
                plan.activation,
                self.backend,
            )?)
        })
    }

    /// Whether two convolutions, one after the other, are one layer: see [`Loader::conv_pair`].
    pub(super) fn joins(&self, first: &ConvPlan, second: &ConvPlan) -> bool {
        Conv::joins(&first.geometry, &second.geometry, self.backend)
    }

    /// Two convolutions that [join](Loader::joins).
    pub(super) fn conv_pair(&self, first: &ConvPlan, second: &ConvPlan) -> Result<Conv, NetError> {
        let conv = self.conv(second, false)?;
        self.with_folded(first, |filters, bias| {
            zero_subnormals(filters);
            Ok(conv.after(
                filters,
                &bias,
                first.geometry,
                first.activation,
                self.backend,
            )?)
        })
    }

    /// The filters of a convolution and one bias for each output, BatchNorm folded.
    pub(super) fn folded(&self, plan: &ConvPlan) -> Result<(Vec<f32>, Vec<f32>), NetError> {
        self.with_folded(plan, |filters, bias| Ok((filters.to_vec(), bias)))
    }

    fn with_folded<R>(
        &self,
        plan: &ConvPlan,
        work: impl FnOnce(&mut [f32], Vec<f32>) -> Result<R, NetError>,
    ) -> Result<R, NetError> {
        let name = format!("{}.weight", plan.name);
        let own_bias = || self.values(&format!("{}.bias", plan.name));
        let norm = match &plan.shift {
            Shift::Norm(norm) => Some(self.norm(norm)?),
            Shift::BiasAndNorm(norm) => Some(self.norm(norm)?.after_bias(&own_bias()?)),
            Shift::Bias | Shift::ScaledBias(_) | Shift::None => None,
        };
        self.with(&name, |filters| {
            let bias = match (&norm, &plan.shift) {
                (Some(norm), _) => norm.fold(filters),
                (None, Shift::ScaledBias(factor)) => {
                    let scaled = |value: f32| (f64::from(value) * factor) as f32;
                    filters.iter_mut().for_each(|value| *value = scaled(*value));
                    own_bias()?.into_iter().map(scaled).collect()
                }
                (None, Shift::None) => vec![0.0; plan.geometry.outputs],
                (None, _) => own_bias()?,
            };
            // Folding leaves NaN and infinity as they are. A tiny variance or a huge scale can overflow
            // f32 although the file is finite.
            if let Some(value) = not_finite(filters).or_else(|| not_finite(&bias)) {
                self.values(&name)?;
                return Err(self.not_finite(&name, value, "after folding the BatchNorm"));
            }
            work(filters, bias)
        })
    }

    /// A norm and an activation as the convolution that they are: each channel by its own factor.
    pub(super) fn norm_act(&self, plan: &NormActPlan) -> Result<Conv, NetError> {
        let channels = plan.channels;
        let mut factors = vec![1.0; channels];
        let bias = self.norm(&plan.norm)?.fold(&mut factors);
        if let Some(value) = not_finite(&factors).or_else(|| not_finite(&bias)) {
            let name = format!("{}.weight", plan.norm.name);
            return Err(self.not_finite(&name, value, "divided by the deviation"));
        }
        zero_subnormals(&mut factors);
        let geometry = ConvGeometry {
            groups: channels,
            ..ConvGeometry::dense(channels, channels, 1)
        };
        let activation = Some(plan.activation);
        Ok(Conv::new(
            &factors,
            bias,
            geometry,
            activation,
            self.backend,
        )?)
    }

    pub(super) fn se(&self, plan: &SePlan) -> Result<SqueezeExcite, NetError> {
        Ok(SqueezeExcite {
            fc1: self.linear(&plan.reduce)?,
            fc2: self.linear(&plan.expand)?,
            hidden: plan.hidden,
            gate: plan.gate,
        })
    }

    pub(super) fn attention(&self, plan: &SkPlan) -> Result<KernelAttention, NetError> {
        let name = &plan.attention;
        let mut reduce = self.values(&format!("{name}.fc_reduce.weight"))?;
        let bias = self.norm(&plan.norm)?.fold(&mut reduce);
        let mut select = self.values(&format!("{name}.fc_select.weight"))?;
        zero_subnormals(&mut reduce);
        zero_subnormals(&mut select);
        Ok(KernelAttention {
            reduce: Linear::new(&reduce, bias, self.backend)?,
            select: Linear::new(&select, vec![0.0; 2 * plan.channels], self.backend)?,
        })
    }

    pub(super) fn classifier(&self, plan: &LinearPlan) -> Result<Linear, NetError> {
        self.linear(&plan.name)
    }

    fn linear(&self, name: &str) -> Result<Linear, NetError> {
        let bias = self.values(&format!("{name}.bias"))?;
        let name = format!("{name}.weight");
        self.with(&name, |weight| {
            if let Some(value) = not_finite(weight) {
                return Err(self.not_finite(&name, value, ""));
            }
            zero_subnormals(weight);
            Ok(Linear::new(weight, bias, self.backend)?)
        })
    }
}

/// Reverses the order of the input channels of filters `[outputs, inputs, height, width]`.
fn reverse_inputs(filters: &mut [f32], geometry: &ConvGeometry) {
    let (depth, area) = (geometry.depth(), geometry.depth() / geometry.group_inputs());
    for filter in filters.chunks_exact_mut(depth) {
        // Reversed as a whole and then each plane again, so that its pixels keep their order.
        filter.reverse();
        filter.chunks_exact_mut(area).for_each(<[f32]>::reverse);
    }
}

/// Replaces weights that are too small for a normal number by 0. Networks with channels that died in
/// training have many, and some CPUs take a hundred cycles for each; no logit depends on them in a digit
/// that it has.
fn zero_subnormals(weights: &mut [f32]) {
    for weight in weights {
        // A comparison and no branch, so that it is vectorised. NaN stays NaN.
        *weight = if weight.abs() < f32::MIN_POSITIVE {
            0.0
        } else {
            *weight
        };
    }
}

/// The first value that is not finite. Whole chunks are checked without a branch per value: this
/// reads every weight of a network.
fn not_finite(values: &[f32]) -> Option<f64> {
    let finite = |chunk: &[f32]| {
        chunk
            .iter()
            .fold(true, |all, value| all & value.is_finite())
    };
    let chunk = values.chunks(1 << 10).find(|chunk| !finite(chunk))?;
    let value = chunk.iter().find(|value| !value.is_finite())?;
    Some(f64::from(*value))
}

#[cfg(test)]
mod tests {
    use super::{reverse_inputs, zero_subnormals};
    use crate::nets::plan::ConvGeometry;

    #[test]
    fn reversed_inputs_keep_their_pixels() {
        let geometry = ConvGeometry::dense(3, 2, 2);
        let mut filters: Vec<f32> = (0..24).map(|i| i as f32).collect();
        reverse_inputs(&mut filters, &geometry);
        let first = [8.0, 9.0, 10.0, 11.0, 4.0, 5.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0];
        assert_eq!(filters[..12], first);
        assert_eq!(filters[12..16], [20.0, 21.0, 22.0, 23.0]);
    }

    #[test]
    fn subnormal_weights_become_zero() {
        let mut weights = [
            f32::from_bits(1),
            -f32::from_bits(0x007f_ffff),
            f32::MIN_POSITIVE,
            -f32::MIN_POSITIVE,
            -0.0,
            1.0,
            f32::NAN,
        ];
        zero_subnormals(&mut weights);
        assert_eq!(weights[..2], [0.0, 0.0]);
        assert_eq!(
            weights[2..6],
            [f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 0.0, 1.0]
        );
        assert!(weights[6].is_nan());
    }
}
