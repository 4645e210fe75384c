//! The README's model table is made from the cards.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --test readme` writes it anew.

use std::fs;
use std::path::Path;

use senet::Zoo;
use senet::zoo::{Card, Published};

const START: &str = "<!-- models: written by `UPDATE_SNAPSHOTS=1 cargo test --test readme` -->\n";
const END: &str = "<!-- end of models -->\n";

fn table() -> String {
    let mut text = String::from(
        "| checkpoint | parameters | GMACs | input | top-1 / top-5 (published) |\n|---|--:|--:|--:|---|\n",
    );
    let zoo = Zoo::builtin().unwrap();
    for card in zoo.cards() {
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
        text += &format!(
            "| {name} | {params:.2} M | {gmacs} | {} | {} |\n",
            card.input.size[0],
            accuracy(card)
        );
    }
    text
}

fn accuracy(card: &Card) -> String {
    let figures = |p: &Published| format!("{:.2} / {:.2} at {}", p.top1, p.top5, p.size[0]);
    let all: Vec<String> = card.published.iter().map(figures).collect();
    if all.is_empty() {
        "not published".into()
    } else {
        all.join(", ")
    }
}

#[test]
fn the_model_table_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme
        .split_once(START)
        .expect("the README has a place for the table");
    let (found, after) = rest.split_once(END).expect("the table has an end");
    let expected = format!("\n{}\n", table());
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, [before, START, &expected, END, after].concat()).unwrap();
    } else {
        assert_eq!(
            found, expected,
            "the README's table is not that of the cards"
        );
    }
}
