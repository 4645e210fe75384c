//! In which precision a network computes.

/// The precision of a network's products. Sums, biases, gates, squeezes and logits are f32 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 32-bit maps, with the factors of products rounded to 10 bits: TensorFloat-32 of NVIDIA's GPUs.
    Tf32,
    /// 16-bit maps and filters with the exponents of f32 and 7 bits of fraction: bfloat16.
    Bf16,
}
