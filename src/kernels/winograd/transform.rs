//! The transforms of windows and products along one axis.

use crate::kernels::Simd;

/// Of a window.
#[inline(always)]
pub(super) fn input_axis<S: Simd, const W: usize>(simd: S, d: [S::V; W]) -> [S::V; W] {
    let mut t = d;
    if W == 4 {
        t[0] = simd.sub(d[0], d[2]);
        t[1] = simd.add(d[1], d[2]);
        t[2] = simd.sub(d[2], d[1]);
        t[3] = simd.sub(d[1], d[3]);
    } else {
        let (two, four, five) = (simd.splat(2.0), simd.splat(4.0), simd.splat(-5.0));
        let minus_four = simd.splat(-4.0);
        // d4 - 4 d2 and d3 - 4 d1, d4 - d2 and 2 (d3 - d1).
        let even = simd.fma(d[2], minus_four, d[4]);
        let odd = simd.fma(d[1], minus_four, d[3]);
        let outer = simd.sub(d[4], d[2]);
        let inner = simd.mul(two, simd.sub(d[3], d[1]));
        t[0] = simd.fma(four, d[0], simd.fma(five, d[2], d[4]));
        t[1] = simd.add(even, odd);
        t[2] = simd.sub(even, odd);
        t[3] = simd.add(outer, inner);
        t[4] = simd.sub(outer, inner);
        t[5] = simd.fma(four, d[1], simd.fma(five, d[3], d[5]));
    }
    t
}

/// Back from products to outputs.
#[inline(always)]
pub(super) fn output_axis<S: Simd, const W: usize, const M: usize>(
    simd: S,
    m: [S::V; W],
) -> [S::V; M] {
    let mut y = [simd.splat(0.0); M];
    if W == 4 {
        y[0] = simd.add(simd.add(m[0], m[1]), m[2]);
        y[1] = simd.sub(simd.sub(m[1], m[2]), m[3]);
    } else {
        let (sum, difference) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        let (far_sum, far_difference) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        y[0] = simd.add(simd.add(m[0], sum), far_sum);
        y[1] = simd.fma(simd.splat(2.0), far_difference, difference);
        y[2] = simd.fma(simd.splat(4.0), far_sum, sum);
        y[3] = simd.fma(simd.splat(8.0), far_difference, simd.add(difference, m[5]));
    }
    y
}
