//! Chooses the strength by predictions of images that the classifier has not seen.

use rayon::prelude::*;

use super::fit::{Path, SEARCH};
use super::{Folds, Head, Samples, TrainError, TrainOptions};
use crate::eval::Answer;

/// How well classifiers of each strength do on images that they have not seen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CrossValidation {
    /// Which images were tested together.
    pub folds: Folds,
    /// One for each strength, from the smallest.
    pub scores: Vec<StrengthScore>,
    /// The strength with the most correct answers, as scikit-learn's `LogisticRegressionCV` chooses;
    /// of equals the one with the lowest loss.
    pub strength: f64,
    /// The answer for each image with that strength, by the classifier of the other folds. As the
    /// strength was chosen by these answers, they are slightly better than those for new images.
    pub answers: Vec<Answer>,
    /// Without that optimism. `None` with several strengths and two folds, which leave nothing to
    /// choose by.
    pub nested: Option<Nested>,
}

/// One strength's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StrengthScore {
    /// The inverse strength of the regularisation, scikit-learn's `C`.
    pub strength: f64,
    /// Images whose most probable class is right.
    pub correct: usize,
    /// Mean cross-entropy.
    pub loss: f64,
}

/// The same with a strength for each fold that was chosen without it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Nested {
    /// One for each fold.
    pub strengths: Vec<f64>,
    /// The answer for each image.
    pub answers: Vec<Answer>,
}

/// Tests every strength on every fold. `progress` is called with the number of fits that are done,
/// and of all.
///
/// For [`Nested`], the strength of a fold is chosen among classifiers that saw neither it nor one of
/// the others, which tests them. A pair of folds serves both ways, so that there are
/// `folds * (folds - 1) / 2` further fits for each strength.
///
/// # Errors
/// Those of [`TrainOptions::check`] and [`Folds::new`]; [`TrainError::Overflow`],
/// [`TrainError::Stopped`].
pub fn cross_validate(
    samples: &Samples<'_>,
    options: &TrainOptions,
    mut progress: impl FnMut(usize, usize),
) -> Result<CrossValidation, TrainError> {
    options.check()?;
    let folds = Folds::new(samples, options.folds, options.seed)?;
    let mut strengths = options.strengths.clone();
    strengths.sort_by(f64::total_cmp);
    strengths.dedup();
    let nests = strengths.len() > 1 && folds.count > 2;
    let pairs = if nests {
        folds.count * (folds.count - 1) / 2
    } else {
        0
    };
    let all = (folds.count + pairs) * strengths.len();
    let mut done = 0;
    let mut step = || {
        done += 1;
        progress(done, all);
    };

    let tested: Vec<Vec<usize>> = (0..folds.count)
        .map(|fold| folds.images(|of| of == fold))
        .collect();
    // Of each fold, for each strength.
    let mut heads: Vec<Vec<Head>> = Vec::new();
    let mut totals = vec![Score::default(); strengths.len()];
    for (fold, images) in tested.iter().enumerate() {
        let mut path = Path::new(samples, &folds.images(|of| of != fold), options, SEARCH);
        let mut own = Vec::new();
        for (&strength, total) in strengths.iter().zip(&mut totals) {
            let head = path.fit(strength)?;
            total.add(score(samples, &head, images));
            own.push(head);
            step();
        }
        heads.push(own);
    }
    let best = Score::best(&totals);
    let answers = answers(samples, &tested, |fold| &heads[fold][best]);

    let nested = if nests {
        // Of each fold that is left out, for each strength.
        let mut inner = vec![vec![Score::default(); strengths.len()]; folds.count];
        for one in 0..folds.count {
            for other in one + 1..folds.count {
                let training = folds.images(|of| of != one && of != other);
                let mut path = Path::new(samples, &training, options, SEARCH);
                for (index, &strength) in strengths.iter().enumerate() {
                    let head = path.fit(strength)?;
                    inner[one][index].add(score(samples, &head, &tested[other]));
                    inner[other][index].add(score(samples, &head, &tested[one]));
                    step();
                }
            }
        }
        let chosen: Vec<usize> = inner.iter().map(|scores| Score::best(scores)).collect();
        Some(Nested {
            strengths: chosen.iter().map(|&index| strengths[index]).collect(),
            answers: self::answers(samples, &tested, |fold| &heads[fold][chosen[fold]]),
        })
    } else {
        // Nothing was chosen where there is one strength.
        (strengths.len() == 1).then(|| Nested {
            strengths: vec![strengths[0]; folds.count],
            answers: answers.clone(),
        })
    };

    let scores = strengths
        .iter()
        .zip(&totals)
        .map(|(&strength, total)| StrengthScore {
            strength,
            correct: total.correct,
            loss: total.loss / samples.len() as f64,
        });
    Ok(CrossValidation {
        scores: scores.collect(),
        strength: strengths[best],
        folds,
        answers,
        nested,
    })
}

/// Figures of one strength on some images.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    correct: usize,
    loss: f64,
}

impl Score {
    fn add(&mut self, other: Self) {
        self.correct += other.correct;
        self.loss += other.loss;
    }

    /// The one with the most correct answers, of equals that with the lowest loss, then the first.
    fn best(scores: &[Self]) -> usize {
        let better = |&a: &usize, &b: &usize| {
            let (a, b) = (scores[a], scores[b]);
            b.correct.cmp(&a.correct).then(a.loss.total_cmp(&b.loss))
        };
        (0..scores.len()).min_by(better).unwrap_or(0)
    }
}

fn score(samples: &Samples<'_>, head: &Head, images: &[usize]) -> Score {
    let logits = head.logits(samples, images);
    let rows = logits.par_chunks(samples.classes()).zip(images);
    let scores = rows.map(|(logits, &image)| {
        let label = samples.labels()[image] as usize;
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers = logits.iter().map(|&x| f64::from(x - highest).exp());
        Score {
            // Of equal logits the first one is the answer.
            correct: usize::from(logits.iter().position(|&x| x == highest) == Some(label)),
            loss: powers.sum::<f64>().ln() + f64::from(highest - logits[label]),
        }
    });
    let scores: Vec<Score> = scores.collect();
    let mut total = Score::default();
    scores.into_iter().for_each(|score| total.add(score));
    total
}

/// The answer for each image by the classifier of its fold.
pub(super) fn answers<'h>(
    samples: &Samples<'_>,
    tested: &[Vec<usize>],
    head: impl Fn(usize) -> &'h Head,
) -> Vec<Answer> {
    let mut answers = vec![None; samples.len()];
    for (fold, images) in tested.iter().enumerate() {
        for (&image, answer) in images.iter().zip(predict(samples, head(fold), images)) {
            answers[image] = Some(answer);
        }
    }
    answers.into_iter().flatten().collect()
}

/// The classifier's answers for some images.
pub(super) fn predict(samples: &Samples<'_>, head: &Head, images: &[usize]) -> Vec<Answer> {
    const PART: usize = 4096;
    let parts = images.chunks(PART).flat_map(|images| {
        let logits = head.logits(samples, images);
        let rows = logits.par_chunks(samples.classes()).zip(images);
        let answers = rows.map(|(logits, &image)| {
            let logits: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
            Answer::new(&logits, &[samples.labels()[image] as usize]).1
        });
        answers.collect::<Vec<_>>()
    });
    parts.collect()
}
