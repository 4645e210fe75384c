//! From features to a classifier and all that is said about it.

use std::time::Instant;

use indicatif::ProgressBar;

use super::features::Features;
use crate::cli::output::Messages;
use crate::error::Error;
use crate::eval::{Answer, Dataset, Header, Outcome, Record, Report};
use crate::labels::LabelSet;
use crate::similar::Pair;
use crate::train::{
    CrossValidation, Doubt, Head, LearningCurve, Samples, TrainError, TrainOptions,
    conflicting_duplicates, cross_validate, fit, label_doubts, learning_curve,
};

/// The cosine of standardised features from which on two images with different labels are reported.
pub(super) const ALIKE: f64 = 0.99;
/// The most images whose pairs are compared: the work grows with the square of their number.
const MOST_COMPARED: usize = 50_000;

/// A classifier, and what is known about it and its data.
pub(super) struct Learned {
    pub head: Head,
    pub chosen: CrossValidation,
    /// Of cross-validation with the chosen strength.
    pub report: Report,
    pub records: Vec<Record>,
    pub nested: Option<Report>,
    pub curve: LearningCurve,
    /// Their images are places in `items`.
    pub doubts: Vec<Doubt>,
    /// The same, of images that look alike and have different labels.
    pub alike: Vec<Pair>,
}

/// What is learned from.
pub(super) struct Lesson<'a> {
    pub features: &'a Features,
    pub data: &'a Dataset,
    pub labels: &'a LabelSet,
    /// Of each item of the data set.
    pub groups: Option<&'a [usize]>,
    pub header: &'a Header,
    pub options: &'a TrainOptions,
}

fn show(bar: &ProgressBar, done: usize, all: usize) {
    bar.set_length(all as u64);
    bar.set_position(done as u64);
}

impl Lesson<'_> {
    /// `None` if Ctrl-C stopped it.
    pub(super) fn learn(&self, messages: Messages) -> anyhow::Result<Option<Learned>> {
        match self.try_learn(messages) {
            Ok(learned) => Ok(Some(learned)),
            Err(Error::Train(TrainError::Stopped)) => {
                messages.note("interrupted");
                Ok(None)
            }
            Err(error) => Err(self.named(error)),
        }
    }

    fn try_learn(&self, messages: Messages) -> Result<Learned, Error> {
        let items = &self.features.items;
        let labels: Vec<u32> = items
            .iter()
            .map(|&item| self.data.items[item].labels[0] as u32)
            .collect();
        let (values, width) = (&self.features.values, self.features.width);
        let mut samples = Samples::new(values, width, &labels, self.labels.len())?;
        let groups: Option<Vec<u32>> = self
            .groups
            .map(|groups| items.iter().map(|&item| groups[item] as u32).collect());
        if let Some(groups) = &groups {
            samples = samples.with_groups(groups);
        }
        if let Some(flipped) = &self.features.flipped {
            samples = samples.with_flipped(flipped)?;
        }
        let start = Instant::now();
        let bar = |what: &str| {
            let template = format!("{{bar:30.cyan/dim}} {{pos}} of {{len}} {what}  {{eta}}");
            messages.bar(0, &template)
        };
        let fits = bar("fits");
        let chosen = cross_validate(&samples, self.options, |done, all| show(&fits, done, all));
        fits.finish_and_clear();
        let chosen = chosen?;
        if let Some(few) = chosen.folds.few {
            let name = &self.labels.entries[few.class].name;
            let what = if groups.is_some() {
                "groups of images"
            } else {
                "images"
            };
            messages.note(format!(
                "{} folds instead of {}: `{name}` has {} {what}",
                chosen.folds.count, self.options.folds, few.count
            ));
        }
        let head = fit(&samples, chosen.strength, self.options)?;
        if !head.converged {
            messages.note(format!(
                "with strength {} the weights are as exact as sums in 32 bits allow, which is less than usual",
                chosen.strength
            ));
        }
        let fits = bar("fits for the learning curve");
        let curve = learning_curve(&samples, &chosen, self.options, |done, all| {
            show(&fits, done, all)
        });
        fits.finish_and_clear();
        let curve = curve?;
        messages.note(format!(
            "classifiers learned and tested in {:.1} s",
            start.elapsed().as_secs_f64()
        ));
        let records = self.records(&chosen.answers);
        let report = |records: &[Record]| Report::new(self.header, records, &[1, 5]);
        let nested = chosen.nested.as_ref();
        Ok(Learned {
            head,
            report: report(&records),
            records,
            nested: nested.map(|nested| report(&self.records(&nested.answers))),
            curve,
            doubts: label_doubts(&chosen.answers, &labels),
            alike: self.alike(&samples, messages)?,
            chosen,
        })
    }

    /// One record for each image of the data set.
    fn records(&self, answers: &[Answer]) -> Vec<Record> {
        let answered = self.features.items.iter().zip(answers);
        let answered = answered.map(|(&place, answer)| (place, Outcome::Answer(*answer)));
        let failed = self.features.failures.iter();
        let failed = failed.map(|(place, error)| {
            let error = error.clone();
            (*place, Outcome::Error { error })
        });
        let mut outcomes: Vec<_> = answered.chain(failed).collect();
        outcomes.sort_by_key(|(place, _)| *place);
        let records = outcomes.into_iter().map(|(place, outcome)| {
            let item = &self.data.items[place];
            Record {
                index: item.index,
                image: item.name.clone(),
                image_bytes: item.name_bytes.clone(),
                label: item.labels[0],
                outcome,
            }
        });
        records.collect()
    }

    /// Pairs of images that look alike and have different labels, the most alike first.
    fn alike(&self, samples: &Samples<'_>, messages: Messages) -> Result<Vec<Pair>, TrainError> {
        if samples.len() > MOST_COMPARED {
            messages.note(format!(
                "near-duplicates with different labels are looked for among at most {MOST_COMPARED} images; \
                 `senet similar --duplicates` compares more"
            ));
            return Ok(Vec::new());
        }
        conflicting_duplicates(samples, ALIKE, self.options)
    }

    /// Names the class or the image that an error is about.
    fn named(&self, error: Error) -> anyhow::Error {
        let class =
            |class: usize| format!("`{}` cannot be learned", self.labels.entries[class].name);
        let about = match &error {
            Error::Train(
                TrainError::EmptyClass { class: index }
                | TrainError::TooFewImages { class: index, .. }
                | TrainError::OneGroup { class: index }
                | TrainError::Overflow { class: index },
            ) => class(*index),
            Error::Train(TrainError::NotFinite { image, .. }) => {
                let item = &self.data.items[self.features.items[*image]];
                format!("{} cannot be learned from", item.name)
            }
            _ => return error.into(),
        };
        anyhow::Error::new(error).context(about)
    }
}
