//! Every card against what timm says about the checkpoint (`tests/tools/make_checkpoints.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use senet::labels::LabelSet;
use senet::zoo::Card;

use super::zoo;

/// The rows of the table, by the names of its columns.
fn rows() -> Vec<BTreeMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints.tsv");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let columns: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!(cells.len(), columns.len(), "{line}");
        let pairs = columns.iter().zip(cells);
        pairs
            .map(|(&column, cell)| (column.into(), cell.into()))
            .collect()
    };
    lines.map(row).collect()
}

/// What the table should say, but for `repo`: a card may name another repository with the same weights.
fn expected(card: &Card) -> BTreeMap<&'static str, String> {
    let input = &card.input;
    let list = |values: &[f32]| {
        let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        values.join(",")
    };
    let results = card.published.iter().map(|entry| {
        assert_eq!(entry.interpolation, input.interpolation, "{}", card.name);
        let [height, width] = entry.size;
        assert_eq!(height, width, "{}", card.name);
        format!(
            "{:.3}/{:.3}@{height}/{:?}",
            entry.top1,
            entry.top5.unwrap(),
            entry.crop_pct
        )
    });
    let optional = |text: Option<String>| text.unwrap_or_default();
    BTreeMap::from([
        ("params", card.params.to_string()),
        (
            "classes",
            LabelSet::builtin_len(&card.labels).unwrap().to_string(),
        ),
        ("size", input.size[0].to_string()),
        ("crop_pct", format!("{:?}", input.crop_pct)),
        (
            "crop_mode",
            serde_json::to_value(input.crop_mode)
                .unwrap()
                .as_str()
                .unwrap()
                .into(),
        ),
        (
            "interpolation",
            serde_json::to_value(input.interpolation)
                .unwrap()
                .as_str()
                .unwrap()
                .into(),
        ),
        ("mean", list(&input.mean)),
        ("std", list(&input.std)),
        (
            "test_size",
            optional(input.test_size.map(|[height, _]| height.to_string())),
        ),
        (
            "test_crop_pct",
            optional(input.test_crop_pct.map(|pct| format!("{pct:?}"))),
        ),
        ("results", results.collect::<Vec<_>>().join(" ")),
    ])
}

#[test]
fn cards_say_what_timm_says() {
    let rows = rows();
    let mut differences = Vec::new();
    for row in &rows {
        let name = &row["name"];
        let card = zoo()
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no card"));
        for (column, expected) in expected(card) {
            if row[column] != expected {
                differences.push(format!(
                    "{name}: {column} is {} in timm, {expected} on the card",
                    row[column]
                ));
            }
        }
        let license = &row["license"];
        if !license.is_empty() && *license != card.license {
            differences.push(format!(
                "{name}: license is {license} in timm, {} on the card",
                card.license
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(rows.len() >= 180, "{} rows", rows.len());
}

/// The table has all cards that load timm's tensors, but for networks that were not trained for timm.
#[test]
fn no_card_is_left_out() {
    let rows = rows();
    for card in zoo().cards() {
        let hub = card
            .weights
            .repo
            .as_deref()
            .is_some_and(|repo| repo.starts_with("timm/"));
        let listed = rows.iter().any(|row| row["name"] == card.name.to_string());
        assert!(listed || !hub, "{}", card.name);
    }
}
