//! `senet version`.

use super::env::{Env, json_rows};

#[test]
fn the_version_names_features_and_instruction_sets() {
    let mut env = Env::new();
    let text = env.run(&["version"]);
    let text = String::from_utf8(text.stdout).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        text.starts_with(&format!("senet {version}\nfeatures: ")),
        "{text}"
    );
    assert!(text.contains("\ninstruction sets: portable"), "{text}");

    env.set("SENET_ISA", "portable");
    let reports = json_rows(&env.run(&["version", "--json"]).stdout);
    let [report] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(report["version"], version);
    assert_eq!(report["isa_available"][0], "portable");
    assert_eq!(report["isa"], "portable");
    let features = report["features"].as_array().unwrap();
    let parquet = features.iter().any(|feature| feature == "parquet");
    assert_eq!(parquet, cfg!(feature = "parquet"));
}
