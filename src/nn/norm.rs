//! BatchNorm in evaluation mode, folded into the convolution before it.

/// The four vectors of a BatchNorm, one value per channel (Ioffe and Szegedy, arXiv:1502.03167).
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// The learned scale.
    pub weight: Vec<f64>,
    /// The learned shift.
    pub bias: Vec<f64>,
    /// The mean over the training data.
    pub running_mean: Vec<f64>,
    /// The variance over the training data.
    pub running_var: Vec<f64>,
    /// Added to the variance.
    pub eps: f64,
}

impl BatchNorm {
    /// The norm that makes of products what this one makes of products with a bias.
    ///
    /// # Panics
    /// If the biases and the vectors differ in length.
    #[must_use]
    pub fn after_bias(mut self, bias: &[f32]) -> Self {
        assert_eq!(bias.len(), self.running_mean.len());
        for (mean, &bias) in self.running_mean.iter_mut().zip(bias) {
            *mean -= f64::from(bias);
        }
        self
    }

    /// Scales the filters of the convolution before it in place and returns the bias with which the
    /// convolution alone computes both. `filters` has equally many values per output channel.
    ///
    /// The arithmetic is in f64, so that each weight is rounded once.
    ///
    /// # Panics
    /// If the four vectors differ in length.
    pub fn fold(&self, filters: &mut [f32]) -> Vec<f32> {
        let channels = self.weight.len();
        let per_channel = filters.len() / channels.max(1);
        let mut bias = Vec::with_capacity(channels);
        for (channel, filter) in filters.chunks_exact_mut(per_channel.max(1)).enumerate() {
            let scale = self.weight[channel] / (self.running_var[channel] + self.eps).sqrt();
            filter
                .iter_mut()
                .for_each(|w| *w = (f64::from(*w) * scale) as f32);
            bias.push((self.bias[channel] - self.running_mean[channel] * scale) as f32);
        }
        bias
    }
}

#[cfg(test)]
mod tests {
    use super::BatchNorm;

    #[test]
    fn folding_equals_normalising_afterwards() {
        let norm = BatchNorm {
            weight: vec![0.5, -2.0],
            bias: vec![0.25, 1.0],
            running_mean: vec![3.0, -1.0],
            running_var: vec![4.0, 0.0],
            eps: 1e-3,
        };
        let filters = [1.5_f32, -2.0, 0.125, 8.0];
        let x = [0.75_f64, -1.25];
        let mut folded = filters;
        let bias = norm.fold(&mut folded);
        for channel in 0..2 {
            let dot =
                |w: &[f32]| f64::from(w[2 * channel]) * x[0] + f64::from(w[2 * channel + 1]) * x[1];
            let expected = (dot(&filters) - norm.running_mean[channel])
                / (norm.running_var[channel] + 1e-3).sqrt()
                * norm.weight[channel]
                + norm.bias[channel];
            let found = dot(&folded) + f64::from(bias[channel]);
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs(),
                "{found} != {expected}"
            );
        }
    }
}
