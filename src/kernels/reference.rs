//! Plain definitions of what the kernels compute, in f64, for their tests.
//!
//! All maps are channels-last: `[N, H, W, C]`.

use super::activation::Activation;
use super::geometry::ConvGeometry;

/// The convolution of `x`, `[n, h, w, inputs]`, with `filters`, `[outputs, inputs / groups, kernel height,
/// kernel width]`, plus the bias: `[n, output height, output width, outputs]`.
pub(crate) fn conv(
    x: &[f32],
    [n, h, w]: [usize; 3],
    filters: &[f32],
    bias: &[f32],
    geometry: ConvGeometry,
) -> Vec<f64> {
    let ConvGeometry {
        inputs,
        outputs,
        stride,
        dilation,
        groups,
        ..
    } = geometry;
    let (cin, cout) = (inputs / groups, outputs / groups);
    let [oh, ow] = geometry.output_size([h, w]);
    let ([kernel_height, kernel_width], [down, across]) = (geometry.kernel(), geometry.axes());
    // The pixel under a tap, unless it is outside of the map.
    let pixel = |axis: ConvGeometry, out: usize, tap: usize, size: usize| {
        (out * stride + tap * dilation)
            .checked_sub(axis.zeros(size)[0])
            .filter(|&at| at < size)
    };
    let mut y = Vec::with_capacity(n * oh * ow * outputs);
    for (image, oy, ox, o) in indices([n, oh, ow, outputs]) {
        let mut sum = f64::from(bias[o]);
        for (i, ky, kx, _) in indices([cin, kernel_height, kernel_width, 1]) {
            if let (Some(iy), Some(ix)) = (pixel(down, oy, ky, h), pixel(across, ox, kx, w)) {
                let value = x[((image * h + iy) * w + ix) * inputs + o / cout * cin + i];
                let weight = filters[((o * cin + i) * kernel_height + ky) * kernel_width + kx];
                sum += f64::from(value) * f64::from(weight);
            }
        }
        y.push(sum);
    }
    y
}

/// All index tuples of an array, the last index running fastest.
fn indices(sizes: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    let [a, b, c, d] = sizes;
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

/// The activation of one value.
pub(crate) fn activate(x: f64, activation: Option<Activation>) -> f64 {
    activation.map_or(x, |activation| activation.value(x))
}

/// Pseudorandom values in -1..1.
pub(crate) fn random(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
