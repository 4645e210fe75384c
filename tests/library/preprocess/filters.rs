//! Every filter compared with Pillow. `tests/tools/make_filters.py` writes the expected results.

use senet::preprocess::{Interpolation, resize};
use serde::Deserialize;

use super::golden::digest;
use super::{Random, assert_none, data};

#[derive(Deserialize)]
struct Expected {
    seed: u64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    old: [u32; 2],
    new: [u32; 2],
    nearest: String,
    #[serde(rename = "box")]
    area: String,
    bilinear: String,
    hamming: String,
    bicubic: String,
    lanczos: String,
}

#[test]
fn filters_match_pillow() {
    let text = std::fs::read_to_string(data().join("preprocess/filters.json")).unwrap();
    let expected: Expected = serde_json::from_str(&text).unwrap();
    assert_eq!(expected.cases.len(), 120);
    let mut random = Random(expected.seed);
    let mut failures = Vec::new();
    for (index, case) in expected.cases.iter().enumerate() {
        // The generator must produce the same four sizes as in the script.
        for _ in 0..4 {
            random.below(1);
        }
        let image = random.image(case.old[0], case.old[1]);
        for (filter, digits) in [
            (Interpolation::Nearest, &case.nearest),
            (Interpolation::Box, &case.area),
            (Interpolation::Bilinear, &case.bilinear),
            (Interpolation::Hamming, &case.hamming),
            (Interpolation::Bicubic, &case.bicubic),
            (Interpolation::Lanczos, &case.lanczos),
        ] {
            let found = resize(&image, case.new[0], case.new[1], filter);
            if digest(&found) != *digits {
                let (old, new) = (case.old, case.new);
                failures.push(format!("case {index}: {filter:?}, {old:?} to {new:?}"));
            }
        }
    }
    assert_none(failures);
}
