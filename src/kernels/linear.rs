//! Fully connected layers: those of the squeeze-and-excitation modules, and the classifier.

use super::direct::Pixels;
use super::element::Word;
use super::{Activation, Epilogue, Isa, Packed, gemm};

/// `x W^T + b` with inputs, sums and results in f32.
#[derive(Debug)]
pub struct Linear<W: Word<Element = f32> = f32>(Packed<W>);

impl<W: Word<Element = f32>> Linear<W> {
    /// From weights `[outputs, inputs]` and one bias per output.
    ///
    /// # Panics
    /// If the weights are not a whole number of rows.
    pub fn new(isa: Isa, weight: &[f32], bias: &[f32]) -> Self {
        let inputs = weight.len() / bias.len().max(1);
        assert_eq!(inputs * bias.len(), weight.len());
        Self(Packed::new(isa, inputs, bias, |output, row| {
            row.copy_from_slice(&weight[output * inputs..][..inputs]);
        }))
    }

    /// Instruction set, element type and tile.
    pub fn kernel(&self) -> String {
        self.0.kernel()
    }

    /// Width of the input.
    pub fn inputs(&self) -> usize {
        self.0.depth()
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.0.outputs()
    }

    /// `y[N, outputs] = activation(x[N, inputs] W^T + b)`.
    ///
    /// # Panics
    /// If a slice does not fit.
    pub fn run(&self, x: &[f32], y: &mut [f32], activation: Option<Activation>) {
        let inputs = self.inputs();
        assert_eq!(x.len() * self.outputs(), y.len() * inputs);
        let epilogue = Epilogue {
            activation,
            sums: None,
        };
        gemm(&self.0, &Pixels { x, inputs }, y, epilogue);
    }
}
