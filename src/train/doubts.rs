//! Images whose label is probably wrong.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::scaler::Scaler;
use super::{Samples, TrainError, TrainOptions};
use crate::eval::Answer;
use crate::similar::{DuplicateOptions, Matrix, Pair, duplicates};

/// An image with evidence against its label.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Doubt {
    /// Position of the image, from 0.
    pub image: usize,
    /// Its label.
    pub label: usize,
    /// The class that the classifier of the other folds sees.
    pub prediction: usize,
    /// The label's probability.
    pub label_probability: f64,
    /// The prediction's probability.
    pub probability: f64,
}

/// The images that are classified otherwise than they are labelled by classifiers that have not seen
/// them, the least probable label first (self-confidence, Northcutt, Jiang and Chuang,
/// arXiv:1911.00068).
pub fn label_doubts(answers: &[Answer], labels: &[u32]) -> Vec<Doubt> {
    let mut doubts: Vec<(f64, Doubt)> = answers
        .iter()
        .zip(labels)
        .enumerate()
        .filter(|(_, (answer, _))| answer.rank > 1)
        .map(|(image, (answer, &label))| {
            let doubt = Doubt {
                image,
                label: label as usize,
                prediction: answer.prediction,
                label_probability: (-answer.loss).exp(),
                probability: answer.probability,
            };
            (answer.loss, doubt)
        })
        .collect();
    doubts.sort_by(|(a, first), (b, second)| b.total_cmp(a).then(first.image.cmp(&second.image)));
    doubts.into_iter().map(|(_, doubt)| doubt).collect()
}

/// Pairs of images that are nearly the same, by the cosine of their standardised features, and have different
/// labels; the most alike first. Of very many images that are all alike, not all pairs are listed, but each
/// image is in one.
///
/// Features that come out of a ReLU are positive and share a large mean, so that without the standardisation
/// images of similar things, such as a sneaker and a boot, have cosines of more than 0.99.
///
/// # Errors
/// [`TrainError::Stopped`].
pub fn conflicting_duplicates(
    samples: &Samples<'_>,
    threshold: f64,
    options: &TrainOptions,
) -> Result<Vec<Pair>, TrainError> {
    let labels = samples.labels();
    let differ = |first: usize, second: usize| labels[first] != labels[second];
    let search = DuplicateOptions {
        threshold,
        wanted: Some(&differ),
        ..DuplicateOptions::default()
    };
    let width = samples.width();
    let images: Vec<usize> = (0..samples.len()).collect();
    let scaler = Scaler::new(&samples.training(&images), width);
    let mut standardised = vec![0.0; samples.features().len()];
    standardised
        .par_chunks_mut(width)
        .zip(samples.features().par_chunks(width))
        .for_each(|(to, row)| scaler.apply(row, to));
    let features = Matrix::new(&standardised, width);
    let groups = duplicates(&features, &search, &mut |_| match options.check_stop() {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    // The features are finite and of one width.
    let groups = groups.map_err(|_| TrainError::Stopped)?;
    let mut pairs: Vec<Pair> = groups.into_iter().flat_map(|group| group.pairs).collect();
    pairs.sort_by(|a, b| {
        let more = b.similarity.total_cmp(&a.similarity);
        more.then((a.first, a.second).cmp(&(b.first, b.second)))
    });
    Ok(pairs)
}
