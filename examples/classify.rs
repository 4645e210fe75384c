//! Prints the five most probable classes of each image: `cargo run --example classify -- [IMAGE…]`.
//!
//! The model is the built-in one, which knows ten kinds of clothing; `MODEL=se-resnet50` in the
//! environment chooses another, which is downloaded if it is not in the cache.

#![allow(clippy::print_stdout)]

use senet::preprocess::{DecodeOptions, open};
use senet::{DeviceChoice, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths: Vec<_> = std::env::args_os().skip(1).collect();
    if paths.is_empty() {
        paths.push("tests/data/pictures/ankle-boot.png".into());
    }

    let name = std::env::var("MODEL").unwrap_or_else(|_| "demo".into());
    let model = Model::builder(name)
        .device(DeviceChoice::Auto.open()?.device)
        .open()?;
    let images = paths
        .iter()
        .map(|path| open(path, &DecodeOptions::default()))
        .collect::<Result<Vec<_>, _>>()?;

    for (path, best) in paths.iter().zip(model.classify(&images, 5)?) {
        println!("{}", path.display());
        for class in best {
            println!("{:8.2}%  {}", 100.0 * class.probability, class.label.name);
        }
    }
    Ok(())
}
