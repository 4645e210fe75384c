//! The contact sheet of `--html`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use rayon::prelude::*;

use super::rows::{Answer, GroupRow, Image, QueryRow};
use crate::cli::inputs::path_from_bytes;
use crate::cli::output::Messages;
use crate::embed::FeatureFile;
use crate::error::Error;
use crate::eval::page::Thumbnail;
use crate::eval::{Dataset, Source};
use crate::preprocess::DecodeOptions;
use crate::similar::page::{Section, Sheet, SheetImage};
use crate::text::thousands;

/// Queries or groups on a sheet.
pub(super) const SECTIONS: usize = 200;

/// Images of a query or group.
const IMAGES_SHOWN: usize = 24;

/// Where the images are.
pub(super) struct ImageFinder {
    /// By their paths; `None` if they are files below the current directory.
    sources: Option<HashMap<PathBuf, Source>>,
}

impl ImageFinder {
    /// Finds the images of a data set.
    pub(super) fn new(data: &[PathBuf], messages: Messages) -> Result<Self, Error> {
        if data.is_empty() {
            return Ok(Self { sources: None });
        }
        let dataset = Dataset::unlabelled(data)?;
        if let Some(note) = dataset.passed.note() {
            messages.note(note);
        }
        let items = dataset.items.into_iter();
        let sources = items.map(|item| (path_from_bytes(item.path().into_owned()), item.source));
        Ok(Self {
            sources: Some(sources.collect()),
        })
    }

    fn thumbnail(&self, image: &Image) -> Option<Thumbnail> {
        let options = DecodeOptions::default();
        let decoded = match &self.sources {
            Some(sources) => sources.get(image.raw())?.open(&options),
            None => Source::File(image.raw().to_owned()).open(&options),
        };
        Thumbnail::new(&decoded.ok()?)
    }

    fn images(&self, images: &[(&Image, String)]) -> Vec<SheetImage> {
        let shown = images.par_iter().map(|(image, caption)| SheetImage {
            path: image.path.clone(),
            caption: caption.clone(),
            is_query: false,
            thumbnail: self.thumbnail(image),
        });
        shown.collect()
    }
}

/// How many are left out, of what is called so if there is one of it, or several.
fn more(count: usize, [one, several]: [&str; 2]) -> Option<String> {
    let what = if count == 1 { one } else { several };
    (count > 0).then(|| format!("and {} more {what}", thousands(count)))
}

const IMAGES: [&str; 2] = ["image", "images"];

fn lead(file: &FeatureFile) -> String {
    let header = file.header();
    format!(
        "{} images of {}, features of {} ({})",
        thousands(file.len()),
        file.source().display(),
        header.model,
        header.layer
    )
}

/// The page of the first queries, of `count`.
pub(super) fn of_queries(
    rows: &[QueryRow],
    count: usize,
    mut thumbnails: BTreeMap<usize, Thumbnail>,
    file: &FeatureFile,
    finder: &ImageFinder,
) -> Sheet {
    let sections = rows.iter().enumerate().map(|(index, row)| {
        let query = SheetImage {
            path: row.image.clone(),
            caption: "query".to_owned(),
            is_query: true,
            thumbnail: thumbnails.remove(&index),
        };
        let mut section = Section {
            heading: row.image.clone(),
            ..Section::default()
        };
        match &row.answer {
            Answer::Error(error) => section.error = Some(error.clone()),
            Answer::Neighbors(neighbors) => {
                let shown = neighbors.iter().take(IMAGES_SHOWN);
                let shown: Vec<_> = shown
                    .map(|n| (&n.image, format!("{:.4}", n.similarity)))
                    .collect();
                section.images.push(query);
                section.images.extend(finder.images(&shown));
                section.more = more(neighbors.len() - shown.len(), IMAGES);
            }
        }
        section
    });
    Sheet {
        title: "Similar images".to_owned(),
        lead: lead(file),
        sections: sections.collect(),
        more: more(count - rows.len(), ["query", "queries"]),
    }
}

/// The page of the first groups, of `count`.
pub(super) fn of_groups(
    rows: &[GroupRow],
    count: usize,
    threshold: f64,
    file: &FeatureFile,
    finder: &ImageFinder,
) -> Sheet {
    let sections = rows.iter().map(|row| {
        // The best similarity of each image.
        let mut best = vec![f64::NEG_INFINITY; row.images.len()];
        for pair in &row.pairs {
            for place in [pair.first, pair.second] {
                best[place] = best[place].max(pair.similarity);
            }
        }
        let images = row.images.iter().zip(best).take(IMAGES_SHOWN);
        let images: Vec<_> = images
            .map(|(image, best)| {
                let new = if image.new { ", new" } else { "" };
                (image, format!("{best:.4}{new}"))
            })
            .collect();
        Section {
            heading: row.heading(),
            error: None,
            images: finder.images(&images),
            more: more(row.images.len() - images.len(), IMAGES),
        }
    });
    Sheet {
        title: format!("Near-duplicates: similarity {threshold} or more"),
        lead: format!(
            "{}. Below each image is its similarity to the most similar one in its group.",
            lead(file)
        ),
        sections: sections.collect(),
        more: more(count - rows.len(), ["group", "groups"]),
    }
}
