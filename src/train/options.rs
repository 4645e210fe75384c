//! How a classifier is learned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::TrainError;

/// How a classifier is learned and tested.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TrainOptions {
    /// The inverse strengths of regularisation to choose from, scikit-learn's `C`: the smaller, the
    /// simpler the classifier. By default powers of ten from 1e-4 to 100.
    pub strengths: Vec<f64>,
    /// Folds of the cross-validation. [`Folds`](super::Folds) may have fewer.
    pub folds: usize,
    /// Whether all classes together count the same, as with scikit-learn's
    /// `class_weight="balanced"`, however many images they have.
    pub balanced: bool,
    /// Chooses the folds.
    pub seed: u64,
    /// Ends the work with [`TrainError::Stopped`] soon after this is true.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            strengths: (-4..=2).map(|power| 10_f64.powi(power)).collect(),
            folds: 5,
            balanced: false,
            seed: 0,
            stop: None,
        }
    }
}

impl TrainOptions {
    /// Whether the numbers make sense; to be called before anything that takes long.
    ///
    /// # Errors
    /// [`TrainError::NoStrength`], [`TrainError::Strength`], [`TrainError::Folds`].
    pub fn check(&self) -> Result<(), TrainError> {
        if self.strengths.is_empty() {
            return Err(TrainError::NoStrength);
        }
        self.strengths
            .iter()
            .try_for_each(|&strength| check_strength(strength))?;
        if self.folds < 2 {
            return Err(TrainError::Folds { folds: self.folds });
        }
        Ok(())
    }

    pub(super) fn check_stop(&self) -> Result<(), TrainError> {
        // Relaxed: the flag is all that is told.
        match &self.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => Err(TrainError::Stopped),
            _ => Ok(()),
        }
    }
}

pub(super) fn check_strength(strength: f64) -> Result<(), TrainError> {
    if strength > 0.0 && strength.is_finite() {
        return Ok(());
    }
    Err(TrainError::Strength { strength })
}
