use senet::kernels::*;
use std::time::Instant;
fn main() {
    let isa = Isa::best();
    println!("{isa:?} threads {}", rayon::current_num_threads());
    for (h, i, o, k, s) in [
        (56, 64, 64, 1, 1),
        (56, 64, 256, 1, 1),
        (56, 256, 64, 1, 1),
        (28, 512, 128, 1, 1),
        (28, 128, 512, 1, 1),
        (14, 1024, 256, 1, 1),
        (14, 256, 1024, 1, 1),
        (7, 2048, 512, 1, 1),
        (7, 512, 2048, 1, 1),
        (7, 2048, 2048, 1, 1),
        (28, 512, 512, 1, 1),
        (14, 1024, 1024, 1, 1),
        (56, 64, 64, 3, 1),
        (28, 128, 128, 3, 1),
        (14, 256, 256, 3, 1),
        (7, 512, 512, 3, 1),
        (224, 3, 64, 7, 2),
        (28, 512, 1024, 3, 2),
    ] {
        let g = ConvGeometry {
            inputs: i,
            outputs: o,
            kernel: k,
            stride: s,
            padding: k / 2,
            dilation: 1,
            groups: 1,
        };
        let filters: Vec<f32> = (0..o * i * k * k)
            .map(|j| ((j * 37 % 101) as f32 - 50.0) * 0.01)
            .collect();
        let bias = vec![0.1; o];
        let conv = DirectConv::new(isa, &filters, &bias, g);
        let x: Vec<f32> = (0..h * h * i)
            .map(|j| ((j * 31 % 97) as f32 - 48.0) * 0.02)
            .collect();
        let oh = g.output(h);
        let mut y = vec![0.0; oh * oh * o];
        let mut best = f64::MAX;
        let mut all = vec![];
        for _ in 0..40 {
            let t = Instant::now();
            conv.run(
                &x,
                [1, h, h],
                &mut y,
                Finish {
                    relu: true,
                    sums: None,
                },
            );
            let d = t.elapsed().as_secs_f64();
            best = best.min(d);
            all.push(d);
        }
        all.sort_by(f64::total_cmp);
        let flops = 2.0 * (oh * oh * o * i * k * k) as f64;
        let mut extra = String::new();
        if Winograd::supports(&g) {
            for size in [TileSize::Two, TileSize::Four] {
                let conv = Winograd::new(isa, &filters, &bias, g, size);
                let mut z = vec![0.0; y.len()];
                let mut all = vec![];
                for _ in 0..40 {
                    let t = Instant::now();
                    conv.run(&x, [1, h, h], &mut z, true);
                    all.push(t.elapsed().as_secs_f64());
                }
                all.sort_by(f64::total_cmp);
                let scale = y.iter().fold(0f32, |m, v| m.max(v.abs()));
                let diff = y
                    .iter()
                    .zip(&z)
                    .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                extra += &format!(
                    "  {size:?} {:.3} ms, diff {:.1e}",
                    all[20] * 1e3,
                    diff / scale
                );
            }
        }
        println!(
            "{h:4} {i:5} {o:5} {k}x{k}/{s}: median {:.3} ms {:.0} GFLOP/s, best {:.0}{extra}",
            all[20] * 1e3,
            flops / all[20] / 1e9,
            flops / best / 1e9
        );
    }
}
