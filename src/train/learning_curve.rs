//! Whether more images would help.

use super::cross_validate::predict;
use super::fit::{Path, SEARCH};
use super::folds::random;
use super::{CrossValidation, Samples, TrainError, TrainOptions};

/// Shares of the training images that classifiers learn from, besides all of them.
const SHARES: [f64; 3] = [0.125, 0.25, 0.5];

/// The normal quantile of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A fall of the error by less than this share of it is not worth twice the images.
const WORTH: f64 = 0.05;

/// Errors on images that the classifier has not seen, by the number of images that it learned from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LearningCurve {
    /// From the fewest images to all of those outside of the tested fold.
    pub points: Vec<CurvePoint>,
    /// What the last doubling says about the next.
    pub verdict: Verdict,
    /// The error with twice the images, if doubling divides it as it did the last time.
    pub error_at_double: f64,
}

/// One number of images.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CurvePoint {
    /// Images learned from, the mean over the folds.
    pub images: f64,
    /// Images whose most probable class is wrong.
    pub wrong: usize,
    /// Their share.
    pub error: f64,
}

/// What the last doubling of the images did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The error fell, by more than chance explains (McNemar's test, 95 %) and by at least a
    /// twentieth: more images would help.
    MoreHelps,
    /// It did not fall by a twentieth, and chance does not hide that it did: more images of this
    /// kind would hardly help.
    Saturated,
    /// Too few images to tell.
    Unclear,
}

/// Repeats the cross-validation of the chosen strength with shares of the training images, the
/// smaller of which are part of the larger. `progress` is called with the number of fits that are done, and of
/// all.
///
/// # Errors
/// [`TrainError::Overflow`], [`TrainError::Stopped`].
pub fn learning_curve(
    samples: &Samples<'_>,
    validation: &CrossValidation,
    options: &TrainOptions,
    mut progress: impl FnMut(usize, usize),
) -> Result<LearningCurve, TrainError> {
    let folds = &validation.folds;
    let mut done = 0;
    let mut points = Vec::new();
    let mut half = Vec::new();
    for share in SHARES {
        let mut right = vec![false; samples.len()];
        let mut images = 0;
        for fold in 0..folds.count {
            let training = part(samples, folds.images(|of| of != fold), share, options.seed);
            images += training.len();
            let head = Path::new(samples, &training, options, SEARCH).fit(validation.strength)?;
            let tested = folds.images(|of| of == fold);
            for (&image, answer) in tested.iter().zip(predict(samples, &head, &tested)) {
                right[image] = answer.rank == 1;
            }
            done += 1;
            progress(done, SHARES.len() * folds.count);
        }
        points.push(CurvePoint::new(&right, images, folds.count));
        half = right;
    }
    let all: Vec<bool> = validation
        .answers
        .iter()
        .map(|answer| answer.rank == 1)
        .collect();
    let last = CurvePoint::new(&all, samples.len() * (folds.count - 1), folds.count);
    let before = points[points.len() - 1].error;
    points.push(last);
    Ok(LearningCurve {
        points,
        verdict: verdict(&half, &all),
        error_at_double: if before > 0.0 {
            last.error * (last.error / before).min(1.0)
        } else {
            last.error
        },
    })
}

impl CurvePoint {
    fn new(right: &[bool], images: usize, folds: usize) -> Self {
        let wrong = right.iter().filter(|right| !**right).count();
        Self {
            images: images as f64 / folds as f64,
            wrong,
            error: wrong as f64 / right.len() as f64,
        }
    }
}

/// A share of the images of each class, at least one.
fn part(samples: &Samples<'_>, mut images: Vec<usize>, share: f64, seed: u64) -> Vec<usize> {
    // Other random numbers than those of the folds, of which a part would otherwise have an order.
    let order = |&image: &usize| (samples.labels()[image], random(!seed, image), image);
    images.sort_by_key(order);
    let same = |a: &usize, b: &usize| samples.labels()[*a] == samples.labels()[*b];
    let classes = images.chunk_by(same);
    let mut kept: Vec<usize> = classes
        .flat_map(|images| &images[..(images.len() as f64 * share).ceil() as usize])
        .copied()
        .collect();
    kept.sort_unstable();
    kept
}

/// From whether each image is right with half of the images and with all of them.
fn verdict(half: &[bool], all: &[bool]) -> Verdict {
    let count = |wanted: (bool, bool)| {
        let pairs = half.iter().zip(all);
        pairs.filter(|&(&half, &all)| (half, all) == wanted).count() as f64
    };
    let (gained, lost) = (count((false, true)), count((true, false)));
    let wrong = gained + count((false, false));
    let fall = gained - lost;
    let margin = Z * (gained + lost).sqrt();
    let worth = WORTH * wrong;
    if fall > margin && fall >= worth {
        Verdict::MoreHelps
    } else if fall + margin < worth || wrong == 0.0 {
        Verdict::Saturated
    } else {
        Verdict::Unclear
    }
}
