//! Class activation maps and gates against PyTorch's gradients of timm's networks, and the place of a map in its
//! image.

use std::collections::HashMap;

use candle_core::Device;
use image::Rgb;
use safetensors::tensor::{Dtype, TensorView};
use senet::explain::{CLOSED, Cam, Explainer, Form, GateSummary, HeatMap, Scale};
use senet::nets::{
    Activation, BlockPlan, ConvGeometry, ConvPlan, Grid, KernelShape, LinearPlan, Network, Padding,
    Plan, Shift, StemPool, StepPlan,
};
use senet::nn::Precision;
use senet::preprocess::{
    CropMode, DecodeOptions, InputSpec, Interpolation, Layout, RgbImage, Transform, decode,
};
use senet::weights::Weights;
use serde::Deserialize;

use crate::common::exif;
use crate::networks::{formula, plan};

/// What tests/tools/make_cam.py wrote.
#[derive(Deserialize)]
struct Recorded {
    networks: Vec<Explained>,
}

#[derive(Deserialize)]
struct Explained {
    architecture: String,
    input: [usize; 4],
    classes: Vec<usize>,
    logits: Vec<f64>,
    maps: Vec<Vec<Vec<f64>>>,
    biases: Vec<f64>,
    gates: Vec<Gates>,
}

#[derive(Deserialize)]
struct Gates {
    name: String,
    mean: f64,
    std: f64,
    closed: f64,
    first: Vec<f64>,
}

fn recorded() -> Vec<Explained> {
    let recorded: Recorded = serde_json::from_str(include_str!("../data/cam.json")).unwrap();
    recorded.networks
}

/// The network, and the weights that it was loaded from.
fn loaded(plan: &Plan, precision: Precision) -> (Network, Weights) {
    let weights = Weights::from_bytes("formula", formula::weights(plan).0).unwrap();
    let network = Network::load(plan, &weights, &Device::Cpu, precision).unwrap();
    (network, weights)
}

#[test]
fn maps_and_gates_are_those_of_pytorch() {
    for expected in recorded() {
        let arch = &expected.architecture;
        let (network, weights) = loaded(&plan(arch, 1000), Precision::F32);
        let explainer = Explainer::new(&network, &weights).unwrap();
        let (input, _) = formula::images(expected.input);
        let observed = &explainer.observe(&input).unwrap()[0];
        for (place, &class) in expected.classes.iter().enumerate() {
            let cam = explainer.cam(observed, class);
            let rows = &expected.maps[place];
            assert_eq!((cam.rows, cam.columns), (rows.len(), rows[0].len()));
            for (found, value) in cam.values.iter().zip(rows.iter().flatten()) {
                assert!(
                    (found - value).abs() < 1e-4,
                    "{arch} {class}: {found}, not {value}"
                );
            }
            let logit = observed.logits[class];
            assert!(
                (f64::from(logit) - expected.logits[place]).abs() < 1e-4,
                "{arch}"
            );
            assert!((cam.bias - expected.biases[place]).abs() < 1e-4, "{arch}");
            let form = if arch.starts_with("tf_mobilenetv3") {
                Form::Gradient
            } else {
                Form::Exact
            };
            assert_eq!(cam.form, form);
            // To float accuracy.
            let error = (cam.mean() + cam.bias - f64::from(logit)).abs();
            let largest = cam
                .values
                .iter()
                .fold(1.0, |most: f64, x| most.max(x.abs()));
            assert!(error < 1e-5 * largest, "{arch} {class}: {error}");
        }
        assert_eq!(explainer.modules().len(), expected.gates.len());
        for (place, expected) in expected.gates.iter().enumerate() {
            let (module, gates) = (&explainer.modules()[place], &observed.gates[place]);
            assert_eq!(module.name, expected.name);
            assert_eq!(module.channels, gates.len());
            let summary = GateSummary::new(gates);
            assert!((summary.mean - expected.mean).abs() < 1e-4);
            assert!((summary.std - expected.std).abs() < 1e-4);
            for (&found, value) in gates.iter().zip(&expected.first) {
                assert!(
                    (f64::from(found) - value).abs() < 1e-4,
                    "{arch} {}",
                    module.name
                );
            }
            // Gates that close may lie on either side.
            let near = gates.iter().filter(|&&gate| (gate - CLOSED).abs() < 1e-4);
            let allowed = (near.count() as f64 + 0.1) / gates.len() as f64;
            assert!((summary.share_closed - expected.closed).abs() <= allowed);
        }
    }
}

/// In bf16 the network rounds what the map is made of, so mean and bias give the logit to that precision alone.
#[test]
fn in_bf16_mean_and_bias_are_close_to_the_logit() {
    for expected in recorded() {
        let (network, weights) = loaded(&plan(&expected.architecture, 1000), Precision::Bf16);
        let explainer = Explainer::new(&network, &weights).unwrap();
        let (input, _) = formula::images(expected.input);
        let observed = &explainer.observe(&input).unwrap()[0];
        let largest = observed
            .logits
            .iter()
            .fold(0.0, |most: f32, x| most.max(x.abs()));
        for &class in &expected.classes {
            let cam = explainer.cam(observed, class);
            let error = (cam.mean() + cam.bias - f64::from(observed.logits[class])).abs();
            assert!(
                error < 0.005 * f64::from(largest),
                "{}: {error}",
                expected.architecture
            );
        }
    }
}

#[test]
fn the_weights_of_another_network_are_refused() {
    let (network, _) = loaded(&plan("seresnet20", 10), Precision::F32);
    let (_, others) = loaded(&plan("tf_mobilenetv3_small_100", 10), Precision::F32);
    assert!(Explainer::new(&network, &others).is_err());
}

/// A network of local means: the strides, paddings and pools of `layers` with equal weights, so that its last map is
/// the brightness around each cell.
fn brightness(layers: &[ConvGeometry], pool: StemPool) -> (Plan, Weights) {
    let conv = |(index, geometry): (usize, &ConvGeometry)| ConvPlan {
        name: format!("conv{index}"),
        geometry: *geometry,
        shift: Shift::Bias,
        activation: Some(Activation::Relu),
    };
    let mut convs: Vec<ConvPlan> = layers.iter().enumerate().map(conv).collect();
    let stem = convs.remove(0);
    let block = BlockPlan {
        entry: None,
        name: "block".into(),
        steps: convs.into_iter().map(StepPlan::Conv).collect(),
        sum: None,
    };
    let plan = Plan {
        stem: vec![stem],
        stem_pool: pool,
        stages: vec![vec![block]],
        ending: None,
        head_conv: None,
        pooled_conv: None,
        bgr: false,
        classifier: LinearPlan {
            name: "fc".into(),
            inputs: 1,
            outputs: 2,
        },
    };
    let tensors = plan.tensors().into_iter().map(|tensor| {
        let length: usize = tensor.shape.iter().product();
        let value = match &*tensor.name {
            name if name.ends_with("bias") => 0.0,
            "fc.weight" => 1.0,
            _ => 1.0 / length as f32,
        };
        let bytes: Vec<u8> = vec![value; length]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        (tensor.name, tensor.shape, bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let views: HashMap<_, _> = views.collect();
    let file = safetensors::serialize(views, None).unwrap();
    (plan, Weights::from_bytes("brightness", file).unwrap())
}

fn conv(inputs: usize, kernel_size: usize, stride: usize, padding: Padding) -> ConvGeometry {
    ConvGeometry {
        inputs,
        outputs: 1,
        kernel_size,
        shape: KernelShape::Square,
        stride,
        padding,
        dilation: 1,
        groups: 1,
    }
}

/// The layers of a ResNet that have a stride, up to 32.
fn like_resnet(padding: impl Fn(usize) -> Padding) -> Vec<ConvGeometry> {
    let first = conv(3, 7, 2, padding(7));
    let mut layers = vec![first];
    layers.extend([1, 2, 2, 2].map(|stride| conv(1, 3, stride, padding(3))));
    layers
}

fn spec(crop_mode: CropMode, crop_pct: f64) -> InputSpec {
    InputSpec {
        size: [224, 192],
        crop_pct,
        crop_mode,
        interpolation: Interpolation::Bilinear,
        mean: [0.0; 3],
        std: [1.0; 3],
        test_size: None,
        test_crop_pct: None,
    }
}

/// Black, with a white square of `edge` pixels around a place `[y, x]`.
fn square([height, width]: [u32; 2], [y, x]: [f64; 2], edge: f64) -> RgbImage {
    RgbImage::from_fn(width, height, |column, row| {
        let is_inside =
            |pixel: u32, centre: f64| (f64::from(pixel) + 0.5 - centre).abs() < edge / 2.0;
        Rgb([if is_inside(row, y) && is_inside(column, x) {
            255
        } else {
            0
        }; 3])
    })
}

/// The map of a network of local means on an image, its cells, and where they lie.
fn bright_map(plan: &Plan, weights: &Weights, image: &RgbImage, spec: &InputSpec) -> (Cam, Grid) {
    let network = Network::load(plan, weights, &Device::Cpu, Precision::F32).unwrap();
    let explainer = Explainer::new(&network, weights).unwrap();
    let transform = Transform::new(spec)
        .unwrap()
        .with_layout(Layout::ChannelsFirst);
    let [height, width] = spec.size;
    let mut values = vec![0.0; 3 * height * width];
    transform.write(image, &mut values);
    let batch = candle_core::Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu).unwrap();
    let observed = &explainer.observe(&batch).unwrap()[0];
    let grid = explainer.grid(height, width).unwrap();
    let cam = explainer.cam(observed, 0);
    assert_eq!(
        (cam.rows, cam.columns),
        (grid.rows.cells, grid.columns.cells)
    );
    (cam, grid)
}

/// The mean of the cells' places, weighted with the map.
fn centroid(cam: &Cam, place: impl Fn(usize, usize) -> [f64; 2]) -> [f64; 2] {
    let total: f64 = cam.values.iter().sum();
    let mut mean = [0.0; 2];
    for (cell, value) in cam.values.iter().enumerate() {
        let place = place(cell / cam.columns, cell % cam.columns);
        for axis in [0, 1] {
            mean[axis] += place[axis] * value / total;
        }
    }
    mean
}

/// Compares the place of a bright square with that of its map, in cells: the highest cell is at most half a cell
/// away on each axis, and the map's centroid is at most a tenth.
fn check_place(
    layers: &[ConvGeometry],
    pool: StemPool,
    image: &RgbImage,
    spec: &InputSpec,
    place: [f64; 2],
) {
    let (plan, weights) = brightness(layers, pool);
    let (cam, grid) = bright_map(&plan, &weights, image, spec);
    let transform = Transform::new(spec).unwrap();
    let placement = transform.placement([image.height() as usize, image.width() as usize]);
    let heat = HeatMap {
        cam: &cam,
        grid: &grid,
        placement: &placement,
        scale: Scale::Sequential,
    };
    let [row, column] = cam.peak();
    let steps = [grid.rows.step, grid.columns.step];
    let cell = [0, 1].map(|axis| steps[axis] * placement.scale()[axis]);
    let off = |found: [f64; 2]| [0, 1].map(|axis| (found[axis] - place[axis]).abs() / cell[axis]);
    let peak = off(heat.centre(row, column));
    assert!(
        peak.iter().all(|off| *off <= 0.5),
        "{spec:?} {pool:?}: the peak is {peak:?} cells off"
    );
    let centre = off(centroid(&cam, |row, column| heat.centre(row, column)));
    assert!(
        centre.iter().all(|off| *off <= 0.1),
        "{spec:?} {pool:?}: the centroid is {centre:?} cells off"
    );
    // Where the image is drawn, the square is the brightest.
    assert!(heat.at(place) > 0.75 * cam.range()[1]);
}

#[test]
fn a_bright_square_is_found_in_every_crop_mode() {
    let symmetric = like_resnet(|kernel| Padding::Each(kernel / 2));
    for (mode, crop_pct) in [
        (CropMode::Center, 0.875),
        (CropMode::Center, 1.0),
        (CropMode::Squash, 0.9),
        (CropMode::Border, 1.0),
        (CropMode::Border, 0.8),
    ] {
        let spec = spec(mode, crop_pct);
        for size in [[480, 640], [640, 480], [150, 201], [224, 192]] {
            let transform = Transform::new(&spec).unwrap();
            let placement = transform.placement(size.map(|edge| edge as usize));
            // Inside the crop, and away from its edges, where a mean has less to see.
            let crop = placement.crop();
            let scale = placement.scale();
            let edge = 16.0 * scale[0].max(scale[1]);
            for share in [[0.5, 0.5], [0.37, 0.61], [0.64, 0.4]] {
                let place = [0, 1].map(|axis| {
                    crop[axis].start + share[axis] * (crop[axis].end - crop[axis].start)
                });
                let place = place.map(|place| place.round());
                let edge = (edge / 2.0).ceil() * 2.0;
                let image = square(size, place, edge);
                for pool in [StemPool::MaxPad, StemPool::Avg] {
                    check_place(&symmetric, pool, &image, &spec, place);
                }
            }
        }
    }
}

#[test]
fn other_paddings_move_the_cells() {
    let spec = spec(CropMode::Center, 1.0);
    let place = [100.0, 90.0];
    let image = square([224, 192], place, 16.0);
    let same = like_resnet(|_| Padding::Same);
    let symmetric = like_resnet(|kernel| Padding::Each(kernel / 2));
    check_place(&same, StemPool::Avg, &image, &spec, place);
    check_place(&symmetric, StemPool::MaxCeil, &image, &spec, place);
    // Cells in the middle of their 32 pixels, as if the image were cut into equal parts, are off by nearly half.
    let (plan, weights) = brightness(&symmetric, StemPool::MaxPad);
    let (cam, _) = bright_map(&plan, &weights, &image, &spec);
    let equal = centroid(&cam, |row, column| {
        [row, column].map(|cell| 32.0 * (cell as f64 + 0.5))
    });
    let off = [0, 1].map(|axis| (equal[axis] - place[axis]) / 32.0);
    assert!(off.iter().all(|off| (0.4..0.6).contains(off)), "{off:?}");
}

#[test]
fn a_turned_image_is_explained_as_it_is_seen() {
    // As stored; turned clockwise, the left edge is on top.
    let stored = square([300, 400], [100.0, 150.0], 30.0);
    let mut options = DecodeOptions::default();
    options.exif = true;
    // To be turned by 90° clockwise.
    let image = decode(&exif::png(&stored, 6), &options).unwrap();
    assert_eq!(image.dimensions(), (300, 400));
    let place = [150.0, 200.0];
    let [y, x] = place.map(|place| place as u32);
    assert_eq!(image.get_pixel(x, y).0, [255; 3]);
    let layers = like_resnet(|kernel| Padding::Each(kernel / 2));
    for mode in [CropMode::Center, CropMode::Squash, CropMode::Border] {
        check_place(&layers, StemPool::MaxPad, &image, &spec(mode, 0.95), place);
    }
}

#[test]
fn a_drawing_has_the_size_of_its_image_and_darkens_what_is_not_seen() {
    let image = RgbImage::from_pixel(600, 200, Rgb([200; 3]));
    let spec = spec(CropMode::Center, 1.0);
    let transform = Transform::new(&spec).unwrap();
    let placement = transform.placement([200, 600]);
    let [rows, columns] = placement.crop();
    assert_eq!(rows, 0.0..200.0);
    assert!(columns.start > 210.0 && columns.end < 390.0, "{columns:?}");
    let grid = plan("seresnet50", 10).grid(224, 192).unwrap();
    let values: Vec<f64> = (0..42).map(f64::from).collect();
    let cam = Cam {
        rows: 7,
        columns: 6,
        values,
        bias: 0.0,
        form: Form::Exact,
    };
    let heat = HeatMap {
        cam: &cam,
        grid: &grid,
        placement: &placement,
        scale: Scale::Sequential,
    };
    let drawn = heat.draw(&image);
    assert_eq!(drawn.dimensions(), image.dimensions());
    assert_eq!(drawn.get_pixel(10, 100).0, [60; 3], "darker");
    let light = |x, y| drawn.get_pixel(x, y).0.map(u32::from).iter().sum::<u32>();
    assert!(light(300, 190) > light(300, 10), "the map rises downwards");
    // A smaller image shows the same.
    let small = heat.draw(&RgbImage::from_pixel(300, 100, Rgb([200; 3])));
    let difference = small.get_pixel(150, 95).0[0].abs_diff(drawn.get_pixel(300, 190).0[0]);
    assert!(difference < 3, "{difference}");
}
