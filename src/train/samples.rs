//! What a classifier is learned from.

use rayon::prelude::*;

use super::TrainError;

/// Images as the features of a network, with their classes.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    features: &'a [f32],
    width: usize,
    labels: &'a [u32],
    classes: usize,
    groups: Option<&'a [u32]>,
    flipped: Option<&'a [f32]>,
}

/// The features of one image, or of its mirror image, as an element of a training set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a> {
    pub features: &'a [f32],
    pub label: u32,
}

impl<'a> Samples<'a> {
    /// From features `[images, width]` and the class of each image, below `classes`.
    ///
    /// # Errors
    /// [`TrainError::OneClass`], [`TrainError::EmptyClass`], [`TrainError::Label`],
    /// [`TrainError::NotFinite`], [`TrainError::EqualFeatures`].
    ///
    /// # Panics
    /// If the features are not one row for each label.
    pub fn new(
        features: &'a [f32],
        width: usize,
        labels: &'a [u32],
        classes: usize,
    ) -> Result<Self, TrainError> {
        assert_eq!(features.len(), labels.len() * width);
        if classes < 2 {
            return Err(TrainError::OneClass { classes });
        }
        let samples = Self {
            features,
            width,
            labels,
            classes,
            groups: None,
            flipped: None,
        };
        let mut counts = vec![0_usize; classes];
        for (image, &label) in labels.iter().enumerate() {
            let count = counts.get_mut(label as usize);
            *count.ok_or(TrainError::Label {
                image,
                label,
                classes,
            })? += 1;
        }
        if let Some(class) = counts.iter().position(|&count| count == 0) {
            return Err(TrainError::EmptyClass { class });
        }
        samples.check_finite(features)?;
        let first = samples.row(0);
        if features.par_chunks(width.max(1)).all(|row| row == first) {
            return Err(TrainError::EqualFeatures);
        }
        Ok(samples)
    }

    /// Images of one group are never in different folds: photographs of one burst, or of one patient.
    ///
    /// # Panics
    /// If there is not one for each image.
    #[must_use]
    pub fn with_groups(self, groups: &'a [u32]) -> Self {
        assert_eq!(groups.len(), self.len());
        Self {
            groups: Some(groups),
            ..self
        }
    }

    /// The features of the mirrored images, in the same order. They are learned from together with
    /// those of the images, and never tested.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`].
    ///
    /// # Panics
    /// If there is not one row for each image.
    pub fn with_flipped(self, flipped: &'a [f32]) -> Result<Self, TrainError> {
        assert_eq!(flipped.len(), self.features.len());
        self.check_finite(flipped)?;
        Ok(Self {
            flipped: Some(flipped),
            ..self
        })
    }

    fn check_finite(&self, features: &[f32]) -> Result<(), TrainError> {
        let rows = features.par_chunks(self.width.max(1)).enumerate();
        let bad = |(image, row): (usize, &[f32])| {
            let value = row.iter().copied().find(|value| !value.is_finite())?;
            Some(TrainError::NotFinite { image, value })
        };
        rows.find_map_first(bad).map_or(Ok(()), Err)
    }

    /// Number of images.
    #[expect(
        clippy::len_without_is_empty,
        reason = "two classes have at least two images"
    )]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Features of an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class of each image.
    pub fn labels(&self) -> &'a [u32] {
        self.labels
    }

    /// The group of each image.
    pub fn groups(&self) -> Option<&'a [u32]> {
        self.groups
    }

    /// The features of all images, one after the other.
    pub fn features(&self) -> &'a [f32] {
        self.features
    }

    /// The features of an image.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn row(&self, image: usize) -> &'a [f32] {
        &self.features[image * self.width..][..self.width]
    }

    /// Images of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        self.labels
            .iter()
            .for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// What is learned from these images: each of them and its mirror image, if there is one.
    pub(super) fn training(&self, images: &[usize]) -> Vec<Sample<'a>> {
        let mut samples = Vec::with_capacity(images.len() * 2);
        for &image in images {
            let label = self.labels[image];
            let rows = [Some(self.features), self.flipped];
            samples.extend(rows.into_iter().flatten().map(|rows| Sample {
                features: &rows[image * self.width..][..self.width],
                label,
            }));
        }
        samples
    }
}
