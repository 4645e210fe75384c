//! Images whose label is probably wrong.

use crate::eval::Answer;

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
