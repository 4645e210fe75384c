//! Where `senet explain` says that things are: one bright square in an image, and a network whose map is brightness.

use std::collections::HashMap;
use std::fs;

use image::{Rgb, RgbImage};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::common::exif;
use super::env::{Env, json_rows};
use super::eval_data::twin;

/// Height and width of the image as it is stored, and the centre and edge of the square in it.
const STORED: [u32; 2] = [300, 400];
const CENTRE: [f64; 2] = [183.0, 176.0];
const EDGE: f64 = 28.0;

/// The built-in architecture with weights that make each map the brightness around its cells: all convolutions are
/// means, all gates one half.
fn brightness(env: &Env) {
    twin(env);
    let file = fs::read(env.path("twin/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap().tensors();
    let values = tensors.iter().map(|(name, view)| {
        let length: usize = view.shape().iter().product();
        let outputs = view.shape()[0];
        let value = match name.as_str() {
            name if name.contains(".se.") => 0.0,
            name if name.ends_with("bias") || name.ends_with("running_mean") => 0.0,
            // Of BatchNorm.
            _ if view.shape().len() == 1 => 1.0,
            _ => outputs as f32 / length as f32,
        };
        let bytes: Vec<u8> = vec![value; length]
            .iter()
            .flat_map(|value: &f32| value.to_le_bytes())
            .collect();
        (name.clone(), view.dtype(), view.shape().to_vec(), bytes)
    });
    let values: Vec<_> = values.collect();
    let views = values.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let views: HashMap<_, _> = views.collect();
    env.write(
        "bright/model.safetensors",
        safetensors::serialize(views, None).unwrap(),
    );
    let mut config: Value =
        serde_json::from_slice(&fs::read(env.path("twin/config.json")).unwrap()).unwrap();
    // Grey is 0, as padding is.
    let input = json!({"input_size": [3, 64, 48], "crop_pct": 0.9, "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5], "std": [1.0, 1.0, 1.0]});
    config["pretrained_cfg"] = input;
    env.write("bright/config.json", config.to_string());
}

/// Grey, with a white square.
fn stored() -> RgbImage {
    let [height, width] = STORED;
    let is_near = |pixel: u32, centre: f64| (f64::from(pixel) + 0.5 - centre).abs() < EDGE / 2.0;
    RgbImage::from_fn(width, height, |x, y| {
        match is_near(y, CENTRE[0]) && is_near(x, CENTRE[1]) {
            true => Rgb([255; 3]),
            false => Rgb([128; 3]),
        }
    })
}

/// The size of the image as it is seen, and the centre of the square in it (Exif 2.32, tag 274).
fn seen(orientation: u8) -> ([f64; 2], [f64; 2]) {
    let ([height, width], [y, x]) = (STORED.map(f64::from), CENTRE);
    match orientation {
        1 => ([height, width], [y, x]),
        2 => ([height, width], [y, width - x]),
        3 => ([height, width], [height - y, width - x]),
        4 => ([height, width], [height - y, x]),
        5 => ([width, height], [x, y]),
        6 => ([width, height], [x, height - y]),
        7 => ([width, height], [width - x, height - y]),
        _ => ([width, height], [width - x, y]),
    }
}

fn pair(value: &Value) -> [f64; 2] {
    [0, 1].map(|axis| value[axis].as_f64().unwrap())
}

#[test]
fn a_bright_square_is_found_whatever_the_crop_and_the_orientation() {
    let env = Env::new();
    brightness(&env);
    let stored = stored();
    for orientation in 1..=8 {
        env.write(
            &format!("set/{orientation}.png"),
            exif::png(&stored, orientation),
        );
    }
    for mode in ["center", "squash", "border"] {
        let output = env.run(&[
            "explain",
            "set",
            "-m",
            "./bright",
            "--class",
            "0",
            "--crop-mode",
            mode,
            "--json",
            "-o",
            mode,
            "-q",
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let rows = json_rows(&output.stdout);
        assert_eq!(rows.len(), 8);
        for (row, orientation) in rows.iter().zip(1..) {
            let what = format!("{mode}, orientation {orientation}");
            let (size, centre) = seen(orientation);
            assert_eq!(pair(&row["size"]), size, "{what}");
            let explanation = &row["explanations"][0];
            let (peak, cell) = (pair(&explanation["peak"]), pair(&row["cell_step"]));
            let off = [0, 1].map(|axis| (peak[axis] - centre[axis]).abs() / cell[axis]);
            assert!(off.iter().all(|off| *off <= 0.5), "{what}: {off:?} cells");
            on_the_drawing(&env, explanation, centre, cell, &what);
        }
    }
}

/// Where the drawing of the grey around the square is lightest, the map is highest.
fn on_the_drawing(env: &Env, explanation: &Value, centre: [f64; 2], cell: [f64; 2], what: &str) {
    let path = env.path(explanation["overlay"].as_str().unwrap());
    let drawn = image::open(path).unwrap().into_rgb8();
    let from_square = |x: u32, y: u32| {
        let place = [f64::from(y) + 0.5, f64::from(x) + 0.5];
        [0, 1].map(|axis| (place[axis] - centre[axis]).abs())
    };
    // Resizing blurs the square's edge.
    let around = drawn.enumerate_pixels().filter(|(x, y, _)| {
        from_square(*x, *y)
            .iter()
            .any(|distance| *distance > EDGE / 2.0)
    });
    let (x, y, _) = around.max_by_key(|(_, _, pixel)| pixel.0[1]).unwrap();
    let off = from_square(x, y);
    for axis in [0, 1] {
        let most = EDGE / 2.0 + 0.5 * cell[axis];
        assert!(
            off[axis] <= most,
            "{what}: lightest {off:?} from the square"
        );
    }
}
