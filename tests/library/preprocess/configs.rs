//! The values of a `config.json` as timm reads them. `tests/tools/make_configs.py` writes the
//! expected results.

use senet::preprocess::{InputSpec, Transform};
use senet::zoo::{ModelSpec, Overrides, WeightsSource};
use serde::Deserialize;

use super::golden::{tensor, tensor_digest};
use super::{Random, assert_none, data};

#[derive(Deserialize)]
struct Expected {
    seed: u64,
    width: u32,
    height: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    pretrained_cfg: serde_json::Value,
    input: String,
    test: String,
}

#[test]
fn config_values_match_timm() {
    let text = std::fs::read_to_string(data().join("preprocess/configs.json")).unwrap();
    let expected: Expected = serde_json::from_str(&text).unwrap();
    assert!(expected.cases.len() > 30);
    let image = Random(expected.seed).image(expected.width, expected.height);
    let mut failures = Vec::new();
    for case in &expected.cases {
        let written = &case.pretrained_cfg;
        let config = serde_json::json!({"architecture": "seresnet50", "pretrained_cfg": written});
        let source = WeightsSource::File("model.safetensors".into());
        let spec =
            ModelSpec::from_timm_config(&config.to_string(), "dir", source, &Overrides::default());
        let input = match spec {
            Ok(spec) => spec.input,
            Err(error) => {
                failures.push(format!("{written}: {error}"));
                continue;
            }
        };
        let tested = InputSpec {
            size: input.test_size.unwrap_or(input.size),
            crop_pct: match input.test_size {
                Some(_) => input.test_crop_pct.unwrap_or(input.crop_pct),
                None => input.crop_pct,
            },
            ..input.clone()
        };
        for (input, digits) in [(&input, &case.input), (&tested, &case.test)] {
            let found = tensor_digest(&tensor(&Transform::new(input).unwrap(), &image));
            if found != *digits {
                failures.push(format!(
                    "{written}: {found}, expected {digits} of {input:?}"
                ));
            }
        }
    }
    assert_none(failures);
}
