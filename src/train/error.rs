//! Why no classifier can be learned.

/// What is wrong with the images, the labels or the options.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A classifier distinguishes at least two classes.
    #[error("the images are of {classes} class{}; a classifier needs at least 2", if *classes == 1 { "" } else { "es" })]
    OneClass {
        /// Number of classes.
        classes: usize,
    },
    /// A class that nothing can be learned about.
    #[error("class {class} has no image")]
    EmptyClass {
        /// Number of the class, from 0.
        class: usize,
    },
    /// To be tested, an image needs another of its class to learn from.
    #[error("class {class} has {images} image{}; cross-validation needs at least 2", if *images == 1 { "" } else { "s" })]
    TooFewImages {
        /// Number of the class, from 0.
        class: usize,
        /// How many it has.
        images: usize,
    },
    /// Groups are kept together, so a class needs images in another group to learn from.
    #[error(
        "all images of class {class} are in one group; cross-validation needs at least 2 groups for each class"
    )]
    OneGroup {
        /// Number of the class, from 0.
        class: usize,
    },
    /// The label of an image is not one of the classes.
    #[error("image {image} has label {label}, but there are {classes} classes, from 0")]
    Label {
        /// Position of the image, from 0.
        image: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A feature that is infinite or not a number.
    #[error("a feature of image {image} is {value}")]
    NotFinite {
        /// Position of the image, from 0.
        image: usize,
        /// The feature.
        value: f32,
    },
    /// Nothing distinguishes the images.
    #[error("all images have the same features")]
    EqualFeatures,
    /// A strength that has no meaning.
    #[error("strength {strength}: must be a positive number")]
    Strength {
        /// The strength.
        strength: f64,
    },
    /// There is nothing to choose from.
    #[error("no strength is given")]
    NoStrength,
    /// Each image is tested by a classifier that learned from other folds.
    #[error("{folds} fold{}: at least 2 are needed", if *folds == 1 { "" } else { "s" })]
    Folds {
        /// Number of folds.
        folds: usize,
    },
    /// The features are so small or so large that the classifier's weights are beyond f32.
    #[error("a weight of class {class} is too large for 32-bit floating point")]
    Overflow {
        /// Number of the class, from 0.
        class: usize,
    },
    /// [`TrainOptions::stop`](super::TrainOptions::stop) is true.
    #[error("interrupted")]
    Stopped,
}

impl TrainError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::EmptyClass { .. } | Self::TooFewImages { .. } => {
                "add images of this class, or leave it out"
            }
            Self::OneGroup { .. } => "group by something of which each class has several values",
            Self::EqualFeatures => {
                "check that the images differ, and that the model's weights are right"
            }
            Self::NotFinite { .. } => "compute the features in f32; f16 and bf16 reach less far",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
