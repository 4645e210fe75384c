//! Matrix product with bias: the layers after the squeeze and the classifier.

use super::direct::Pixels;
use super::tail::sigmoid_all;
use super::{Finish, Isa, MatMut, Packed, gemm};

/// `x W^T + b`.
#[derive(Debug)]
pub struct Linear(Packed);

impl Linear {
    /// From weights `[outputs, inputs]` and one bias per output.
    ///
    /// # Panics
    /// If the weights are not whole rows.
    pub fn new(isa: Isa, weight: &[f32], bias: &[f32]) -> Self {
        let inputs = weight.len() / bias.len().max(1);
        assert_eq!(inputs * bias.len(), weight.len());
        Self(Packed::new(isa, inputs, bias, |output, row| {
            row.copy_from_slice(&weight[output * inputs..][..inputs]);
        }))
    }

    pub fn inputs(&self) -> usize {
        self.0.depth()
    }

    pub fn outputs(&self) -> usize {
        self.0.outputs()
    }

    /// `x[N, inputs]` to `y[N, outputs]`, negative results to 0 if `relu`.
    ///
    /// # Panics
    /// If a slice does not fit.
    pub fn run(&self, x: &[f32], y: &mut [f32], relu: bool) {
        let inputs = self.inputs();
        assert_eq!(x.len() * self.outputs(), y.len() * inputs);
        let y = MatMut::new(y, self.outputs());
        gemm(
            &self.0,
            &Pixels { x, inputs },
            y,
            Finish { relu, sums: None },
        );
    }

    /// As [`Linear::run`], and the logistic function of every result.
    ///
    /// # Panics
    /// As [`Linear::run`].
    pub fn run_sigmoid(&self, x: &[f32], y: &mut [f32]) {
        self.run(x, y, false);
        sigmoid_all(self.0.isa(), y);
    }
}
