//! Whether the rows of a file are those of the images that have their paths now.

use std::collections::HashMap;
use std::path::Path;

use super::{EmbedError, ExtractOptions, FeatureFile, FeatureHeader, extract};
use crate::eval::Item;
use crate::model::Model;

/// Images whose features are computed again, evenly spread.
const IMAGES: usize = 8;

/// How far a row may be from the one computed now, as a share of its length: instruction sets differ in
/// their rounding, and in bf16 by more than in f32.
const DISTANCE: f64 = 0.02;

/// Computes a few features again and compares them with those that the file at `path` has for the same paths:
/// files know images by their paths, which another data set may have as well.
///
/// Nothing is compared if there is no whole file of features at `path`, or one with another header:
/// [`FeatureWriter::open`](super::FeatureWriter::open) finds that out.
///
/// # Errors
/// [`EmbedError::OtherImage`]; those of [`extract`].
pub fn check_images(
    path: &Path,
    header: &FeatureHeader,
    model: &Model,
    items: &[Item],
    options: &ExtractOptions,
) -> Result<(), EmbedError> {
    let Ok(file) = FeatureFile::open(path) else {
        return Ok(());
    };
    if header.check_same(file.header(), path).is_err() {
        return Ok(());
    }
    let rows: HashMap<&[u8], usize> = file.paths().zip(0..).collect();
    let known: Vec<(&Item, usize)> = items
        .iter()
        .filter_map(|item| Some((item, *rows.get(&*item.path())?)))
        .collect();
    let count = known.len().min(IMAGES);
    let sample: Vec<(&Item, usize)> = (0..count).map(|i| known[i * known.len() / count]).collect();
    let images: Vec<&Item> = sample.iter().map(|&(item, _)| item).collect();
    extract(model, &images, options, |batch| {
        let stored = &sample[batch.first..];
        for (row, &(item, place)) in batch.rows.iter().zip(stored) {
            // What cannot be read any more is not another image.
            if let Ok(row) = row
                && differ(row, &file.row(place))
            {
                return Err(EmbedError::OtherImage {
                    path: path.display().to_string(),
                    image: item.name.clone(),
                });
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn differ(a: &[f32], b: &[f32]) -> bool {
    let square = |x: f64| x * x;
    let length = |row: &[f32]| row.iter().map(|&x| square(x.into())).sum::<f64>();
    let pairs = a.iter().zip(b);
    let distance: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    a.len() != b.len() || distance > square(DISTANCE) * length(a).max(length(b))
}
