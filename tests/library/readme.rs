//! The READMEs' tables of models are made from the cards, and the READMEs' links exist.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --test library readme::` updates the tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use senet::Zoo;
use senet::zoo::{Architecture, Card, Published};

/// The models of the short table.
const RECOMMENDED: &[&str] = &[
    "efficientnet_b0.ra_in1k",
    "legacy_senet154.in1k",
    "mobilenetv3_large_100.ra_in1k",
    "regnety_016.tv2_in1k",
    "regnetz_e8.ra3_in1k",
    "se_bn_inception.caffe_in1k",
    "seresnet152d.ra2_in1k",
    "seresnet20.fashion_mnist",
    "seresnext26ts.ch_in1k",
    "seresnext50_32x4d.racm_in1k",
    "seresnextaa101d_32x8d.sw_in12k_ft_in1k_288",
    "seresnextaa201d_32x8d.sw_in12k_ft_in1k_384",
    "tf_efficientnetv2_s.in21k_ft_in1k",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn models<'a>(cards: impl Iterator<Item = &'a Card>) -> String {
    let mut text = String::from(
        "| checkpoint | parameters | GMACs | input | top-1 / top-5 (published) |\n|---|--:|--:|--:|---|\n",
    );
    let zoo = Zoo::builtin();
    for card in cards {
        let default = zoo.default_of(card.name.architecture()).unwrap();
        let name = format!("`{}`", card.name);
        let name = if default.name == card.name {
            format!("**{name}**")
        } else {
            name
        };
        let gmacs = card
            .gmacs
            .map_or_else(String::new, |gmacs| format!("{gmacs:.2}"));
        let params = card.params as f64 / 1e6;
        let license = match card.is_permissive() {
            true => String::new(),
            false => format!("; licence: {}", card.license),
        };
        text += &format!(
            "| {name} | {params:.2} M | {gmacs} | {} | {}{license} |\n",
            card.input.size[0],
            accuracy(card)
        );
    }
    text
}

fn accuracy(card: &Card) -> String {
    let figures = |p: &Published| {
        let top5 = p.top5.map(|top5| format!(" / {top5:.2}"));
        format!("{:.2}{} at {}", p.top1, top5.unwrap_or_default(), p.size[0])
    };
    let all: Vec<String> = card.published.iter().map(figures).collect();
    if all.is_empty() {
        "not published".into()
    } else {
        all.join(", ")
    }
}

/// A table for each family, and the families' topologies without weights.
fn families() -> String {
    let zoo = Zoo::builtin();
    let mut text = String::new();
    for family in zoo.families() {
        text += &format!("### {family}\n\n");
        let cards: Vec<&Card> = zoo.cards().filter(|card| card.family == family).collect();
        if !cards.is_empty() {
            text += &models(cards.into_iter());
            text.push('\n');
        }
        let mut untrained: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for known in zoo.untrained().filter(|known| known.family == family) {
            let of_publisher = untrained.entry(known.naming.publisher()).or_default();
            of_publisher.push(topology(known));
        }
        for (publisher, known) in untrained {
            let what = publisher.map_or_else(
                || "No published weights".to_owned(),
                |publisher| format!("For the files that {publisher} publishes"),
            );
            text += &format!("{what}: {}.\n\n", known.join(", "));
        }
    }
    text.trim_end().to_owned() + "\n"
}

fn topology(known: &Architecture) -> String {
    let params = known.params as f64 / 1e6;
    format!("`{}` ({params:.2} M, {})", known.name, known.input.size[0])
}

/// Compares the table called `name` in `file` with `expected`, or writes it.
fn compare(file: &str, name: &str, expected: &str) {
    let path = root().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let start = format!(
        "<!-- {name}: written by `UPDATE_SNAPSHOTS=1 cargo test --test library readme::` -->\n"
    );
    let (before, rest) = text
        .split_once(&start)
        .expect("the file has a place for the table");
    let (found, after) = rest
        .split_once(&format!("<!-- end of {name} -->\n"))
        .expect("the table has an end");
    let expected = format!("\n{expected}\n");
    if crate::common::snapshots::update() {
        let end = format!("<!-- end of {name} -->\n");
        fs::write(&path, [before, &start, &expected, &end, after].concat()).unwrap();
    } else {
        assert_eq!(found, expected, "{file} is not what the cards say");
    }
}

#[test]
fn the_short_table_is_fresh() {
    let zoo = Zoo::builtin();
    let cards = RECOMMENDED.iter().map(|name| zoo.get(name).unwrap());
    compare("README.md", "models", &models(cards));
}

#[test]
fn the_tables_of_models_are_fresh() {
    compare("models/README.md", "models", &families());
}

/// Rustdoc checks the links of the guides.
#[test]
fn files_that_readmes_link_to_exist() {
    for readme in ["README.md", "models/README.md", "CHANGELOG.md"] {
        let folder = root().join(readme);
        let text = fs::read_to_string(&folder).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split_once(')').unwrap().0;
            let file = Path::new(link.split('#').next().unwrap());
            if link.starts_with("https://") || file == Path::new("") {
                continue;
            }
            assert!(
                folder.with_file_name("").join(file).exists(),
                "{readme}: {link}"
            );
        }
    }
}
