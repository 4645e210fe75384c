//! What `senet similar` prints for a query, and for a group of near-duplicates.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::format::Row;
use crate::cli::inputs::{Input, path_from_bytes};
use crate::cli::output::{Results, Tone};
use crate::cli::rows::RowError;
use crate::embed::FeatureFile;
use crate::quote::{lost_bytes, path_bytes};
use crate::similar::{Group, Neighbor};
use crate::text::thousands;

/// An image of a file of features.
#[derive(Clone, Serialize)]
pub(super) struct Image {
    pub(super) path: String,
    /// In base64, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    /// Whether it is one of the new file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) new: bool,
    #[serde(skip)]
    raw: PathBuf,
}

impl Image {
    pub(super) fn of(file: &FeatureFile, row: usize, new: bool) -> Self {
        let bytes = file.path_bytes(row);
        Self {
            path: file.path(row).into_owned(),
            path_bytes: lost_bytes(bytes),
            new,
            raw: path_from_bytes(bytes.to_vec()),
        }
    }

    /// The path byte for byte.
    pub(super) fn raw(&self) -> &Path {
        &self.raw
    }
}

/// A query and its neighbours.
#[derive(Serialize)]
pub(super) struct QueryRow {
    pub(super) image: String,
    /// In base64, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_bytes: Option<String>,
    #[serde(flatten)]
    pub(super) answer: Answer,
    #[serde(skip)]
    raw: OsString,
    #[serde(skip)]
    hint: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    Neighbors(Vec<NeighborRow>),
    Error(String),
}

#[derive(Serialize)]
pub(super) struct NeighborRow {
    #[serde(flatten)]
    pub(super) image: Image,
    pub(super) similarity: f64,
}

impl QueryRow {
    pub(super) fn new(
        input: &Input,
        file: &FeatureFile,
        answer: Result<Vec<Neighbor>, RowError>,
    ) -> Self {
        let image = input.to_string();
        let (answer, hint) = match answer {
            Ok(neighbors) => {
                let neighbors = neighbors.into_iter().map(|neighbor| NeighborRow {
                    image: Image::of(file, neighbor.index, false),
                    similarity: neighbor.similarity,
                });
                (Answer::Neighbors(neighbors.collect()), None)
            }
            Err(RowError { text, hint }) => {
                // The row already begins with the path.
                let short = text.strip_prefix(&format!("`{image}`: "));
                (Answer::Error(short.unwrap_or(&text).to_owned()), hint)
            }
        };
        Self {
            image_bytes: input.path().and_then(path_bytes),
            raw: input
                .path()
                .map_or_else(|| image.clone().into(), Into::into),
            image,
            answer,
            hint,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self.answer, Answer::Error(_))
    }

    pub(super) fn print(&self, results: &mut Results) -> anyhow::Result<()> {
        results.pieces(&[(Tone::Bold, &self.image)])?;
        match &self.answer {
            Answer::Neighbors(neighbors) => {
                for neighbor in neighbors {
                    let similarity = format!("  {:7.4}  ", neighbor.similarity);
                    let path = &*neighbor.image.path;
                    results.pieces(&[(Tone::Plain, &similarity), (Tone::Plain, path)])?;
                }
            }
            Answer::Error(error) => {
                let text = format!(" {error}");
                results.pieces(&[(Tone::Red, "  error:"), (Tone::Plain, &text)])?;
                if let Some(hint) = &self.hint {
                    let hint = format!(" {hint}");
                    results.pieces(&[(Tone::Cyan, "  hint:"), (Tone::Plain, &hint)])?;
                }
            }
        }
        Ok(())
    }
}

impl Row for QueryRow {
    const COLUMNS: &'static [&'static str] = &["image", "rank", "path", "similarity", "error"];

    fn records(&self) -> Vec<Vec<OsString>> {
        match &self.answer {
            Answer::Neighbors(neighbors) => {
                let ranked = (1..).zip(neighbors);
                let records = ranked.map(|(rank, neighbor): (usize, _)| {
                    vec![
                        self.raw.clone(),
                        rank.to_string().into(),
                        neighbor.image.raw().into(),
                        neighbor.similarity.to_string().into(),
                        OsString::new(),
                    ]
                });
                records.collect()
            }
            Answer::Error(error) => {
                let mut record = vec![OsString::new(); Self::COLUMNS.len()];
                record[0] = self.raw.clone();
                record[4] = error.into();
                vec![record]
            }
        }
    }
}

/// A group of near-duplicates.
#[derive(Serialize)]
pub(super) struct GroupRow {
    /// From 1, for text and CSV.
    #[serde(skip)]
    pub(super) number: usize,
    pub(super) images: Vec<Image>,
    pub(super) pair_count: u64,
    pub(super) pairs: Vec<PairRow>,
}

/// Two images, as their places in the list of their group.
#[derive(Serialize)]
pub(super) struct PairRow {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) similarity: f64,
}

impl GroupRow {
    pub(super) fn new(number: usize, group: &Group, image: impl Fn(usize) -> Image) -> Self {
        // The members are in order, and pairs have no others.
        let place = |index: usize| group.members.binary_search(&index).unwrap_or_default();
        Self {
            number,
            images: group.members.iter().map(|&index| image(index)).collect(),
            pair_count: group.pair_count,
            pairs: (group.pairs.iter())
                .map(|pair| PairRow {
                    first: place(pair.first),
                    second: place(pair.second),
                    similarity: pair.similarity,
                })
                .collect(),
        }
    }

    /// The images of a pair, a new one first.
    fn names(&self, pair: &PairRow) -> [&Image; 2] {
        let (first, second) = (&self.images[pair.first], &self.images[pair.second]);
        if second.new {
            [second, first]
        } else {
            [first, second]
        }
    }

    pub(super) fn heading(&self) -> String {
        let pairs = if self.pair_count == 1 { "" } else { "s" };
        format!(
            "group {}: {} images, {} pair{pairs}",
            thousands(self.number),
            thousands(self.images.len()),
            thousands(self.pair_count as usize)
        )
    }

    pub(super) fn print(&self, results: &mut Results) -> anyhow::Result<()> {
        results.pieces(&[(Tone::Bold, &self.heading())])?;
        for pair in &self.pairs {
            let similarity = format!("  {:7.4}  ", pair.similarity);
            let [first, second] = self.names(pair);
            results.pieces(&[
                (Tone::Plain, &similarity),
                (Tone::Plain, &first.path),
                (Tone::Plain, if first.new { " (new)  " } else { "  " }),
                (Tone::Plain, &second.path),
            ])?;
        }
        let more = self.pair_count as usize - self.pairs.len();
        if more > 0 {
            let more = format!("  and {} more pairs", thousands(more));
            results.pieces(&[(Tone::Dim, &more)])?;
        }
        Ok(())
    }
}

impl Row for GroupRow {
    const COLUMNS: &'static [&'static str] = &["group", "first", "second", "similarity"];

    fn records(&self) -> Vec<Vec<OsString>> {
        let records = self.pairs.iter().map(|pair| {
            let [first, second] = self.names(pair);
            vec![
                self.number.to_string().into(),
                first.raw().into(),
                second.raw().into(),
                pair.similarity.to_string().into(),
            ]
        });
        records.collect()
    }
}
