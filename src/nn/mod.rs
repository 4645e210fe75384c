//! Layers on Candle tensors, in evaluation mode.
//!
//! A layer is made from plain numbers, already folded, for one [`Backend`]: on the CPU our kernels,
//! which own their packed weights and work on channels-last maps; on other devices Candle's
//! operations on `[N, C, H, W]`. A network sees a [`Map`] and not which of the two it is.

mod conv;
mod linear;
mod map;
mod norm;
mod pool;
mod residual;
mod se;
mod sk;

pub use conv::Conv;
pub use linear::{Linear, global_mean};
pub use map::{Backend, Engine, Map, stored_channels_last};
pub use norm::BatchNorm;
pub use pool::{avg_pool, avg_pool_ceil, max_pool_ceil, max_pool_pad};
pub use residual::{residual_tail, scale};
pub use se::SqueezeExcite;
pub use sk::{KernelAttention, select};

pub use crate::kernels::{Activation, ConvGeometry, Isa};

use candle_core::{Result, Tensor};

/// The activation as Candle computes it, on any device. Its ReLU turns NaN into 0; the weights and
/// the input are checked before, so that only an overflow could be hidden so.
pub(crate) fn activate(x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
    let hard_sigmoid = || ((x + 3.0)?.clamp(0f32, 6f32)? / 6.0);
    match activation {
        None => Ok(x.clone()),
        Some(Activation::Relu) => x.relu(),
        Some(Activation::Relu6) => x.clamp(0f32, 6f32),
        Some(Activation::Silu) => x.silu(),
        Some(Activation::HardSwish) => x * hard_sigmoid()?,
        Some(Activation::Sigmoid) => candle_nn::ops::sigmoid(x),
        Some(Activation::HardSigmoid) => hard_sigmoid(),
        Some(Activation::Gelu) => x.gelu_erf(),
        Some(Activation::GeluTanh) => x.gelu(),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::kernels::reference;

    #[test]
    fn candle_computes_the_same_activations() {
        let values: Vec<f32> = (-1000..=1000).map(|i| i as f32 * 0.013).collect();
        let x = Tensor::new(values.as_slice(), &Device::Cpu).unwrap();
        for activation in std::iter::once(None).chain(Activation::ALL.map(Some)) {
            let found: Vec<f32> = activate(&x, activation).unwrap().to_vec1().unwrap();
            for (&x, y) in values.iter().zip(found) {
                let exact = reference::activate(f64::from(x), activation);
                let error = (f64::from(y) - exact).abs();
                let allowed = 1e-6 * f64::from(x).abs().max(1.0);
                assert!(error <= allowed, "{activation:?}({x}) = {y} for {exact}");
            }
        }
    }

    #[test]
    fn activations_are_named_in_snake_case() {
        let names = serde_json::to_string(&Activation::ALL).unwrap();
        let expected =
            r#"["relu","relu6","silu","hard_swish","sigmoid","hard_sigmoid","gelu","gelu_tanh"]"#;
        assert_eq!(names, expected);
    }
}
