//! Images for networks with one input channel, compared with timm. `tests/tools/make_grey.py`
//! writes the expected results.

use std::collections::BTreeMap;

use senet::preprocess::{InputSpec, Transform, Views};
use serde::Deserialize;

use super::golden::tensor_digest;
use super::{assert_none, data, decode_file};

#[derive(Deserialize)]
struct Expected {
    specs: BTreeMap<String, Stats>,
    pictures: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Stats {
    mean: f32,
    std: f32,
}

/// The settings are those of the colour tests.
#[derive(Deserialize)]
struct InColour {
    specs: BTreeMap<String, InputSpec>,
}

#[test]
fn grey_matches_timm() {
    let read = |name: &str| std::fs::read_to_string(data().join("preprocess").join(name)).unwrap();
    let expected: Expected = serde_json::from_str(&read("grey.json")).unwrap();
    let specs: InColour = serde_json::from_str(&read("expected.json")).unwrap();
    let mut failures = Vec::new();
    for (name, digests) in &expected.pictures {
        let image = decode_file(name).unwrap();
        for (spec, digest) in digests {
            let stats = &expected.specs[spec];
            let spec = InputSpec {
                mean: [stats.mean; 3],
                std: [stats.std; 3],
                ..specs.specs[spec].clone()
            };
            let transform = Transform::with_channels(&spec, 1).unwrap();
            let [height, width] = transform.size();
            let mut values = vec![f32::NAN; height * width];
            transform.write(&image, &mut values);
            if tensor_digest(&values) != *digest {
                failures.push(format!("{name}, {spec:?}"));
            }
            let mut views = vec![f32::NAN; 2 * height * width];
            transform.write_views(&image, Views::Flip, &mut views);
            assert_eq!(views[..height * width], values);
            let mirrored = views[height * width..]
                .chunks(width)
                .flat_map(|row| row.iter().rev());
            assert!(mirrored.zip(&values).all(|(a, b)| a == b));
        }
    }
    assert_none(failures);
    assert!(expected.pictures.len() > 60);
}

#[test]
fn other_channels_are_an_error() {
    let text = std::fs::read_to_string(data().join("preprocess/expected.json")).unwrap();
    let specs: InColour = serde_json::from_str(&text).unwrap();
    for channels in [0, 2, 4, 13] {
        let error = Transform::with_channels(&specs.specs["bilinear-28-1"], channels).unwrap_err();
        assert!(
            error.to_string().contains(&format!("{channels} channels")),
            "{error}"
        );
    }
}
