//! Classifiers of new classes on the features of a frozen network.
//!
//! A network's last layer is linear, so a classifier of other classes is a multinomial logistic
//! regression on the features before it. [`fit`] finds it to convergence, with the numbers of
//! scikit-learn's `StandardScaler` and `LogisticRegression`; [`cross_validate`] chooses the strength
//! of its regularisation and predicts each image with a classifier that has not seen it. All figures
//! about the classifier come from those predictions: accuracy and calibration through
//! [`Report`](crate::eval::Report), [`label_doubts`], and, with further fits, a [`LearningCurve`].
//!
//! Everything is deterministic, whatever the number of threads.

mod card;
mod config;
mod cross_validate;
mod directory;
mod doubts;
mod error;
mod fit;
mod folds;
mod lbfgs;
mod learning_curve;
mod objective;
mod options;
mod samples;
mod scaler;

pub use card::{ModelCard, license, verdict};
pub use cross_validate::{CrossValidation, Nested, StrengthScore, cross_validate};
pub use directory::{DirectoryError, OutputDirectory};
pub use doubts::{Doubt, conflicting_duplicates, label_doubts};
pub use error::TrainError;
pub use fit::{Head, fit};
pub use folds::{FewImages, Folds};
pub use learning_curve::{CurvePoint, LearningCurve, Verdict, learning_curve};
pub use options::TrainOptions;
pub use samples::Samples;
