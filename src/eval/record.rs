//! What is kept of each picture, and of the run that it belongs to.

use serde::{Deserialize, Serialize};

use crate::image::InputSpec;

/// The first line of a results file: all that has to be the same for results to belong together.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Header {
    /// Version of this form.
    pub senet_eval: u32,
    pub model: String,
    /// SHA-256 over the names, shapes and values of all tensors.
    pub weights: String,
    pub input: InputSpec,
    /// Whether pictures are turned as their EXIF orientation says.
    pub exif: bool,
    /// Pictures in the whole data set.
    pub pictures: usize,
    /// [`Dataset::fingerprint`](super::Dataset::fingerprint).
    pub data: String,
    /// The short names of the classes.
    pub classes: Vec<String>,
}

/// The result of one picture; a line of a results file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Record {
    /// Position in the whole data set, from 0.
    pub index: usize,
    pub picture: String,
    /// Output of the classifier that is right.
    pub label: usize,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    Answer(Answer),
    Error { error: String },
}

/// What the network said.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Answer {
    /// The most probable class.
    pub prediction: usize,
    /// Its probability.
    pub probability: f64,
    /// Place of the right class in the order of probability, from 1; of equal ones the lower index
    /// is first.
    pub rank: usize,
    /// Cross-entropy: minus the logarithm of the right class's probability.
    pub loss: f64,
}

impl Answer {
    /// From the finite logits of one picture and its right class.
    ///
    /// # Panics
    /// If `label` is no class, or there are none.
    pub fn new(logits: &[f32], label: usize) -> Self {
        let right = logits[label];
        let ahead =
            |(index, &logit): (usize, &f32)| logit > right || (logit == right && index < label);
        let before = logits
            .iter()
            .enumerate()
            .filter(|&pair| ahead(pair))
            .count();
        let better = |best: usize, index: usize| {
            if logits[index] > logits[best] {
                index
            } else {
                best
            }
        };
        let prediction = (0..logits.len()).fold(0, better);
        let highest = f64::from(logits[prediction]);
        let sum: f64 = logits
            .iter()
            .map(|&logit| (f64::from(logit) - highest).exp())
            .sum();
        Self {
            prediction,
            probability: 1.0 / sum,
            rank: before + 1,
            loss: sum.ln() + highest - f64::from(right),
        }
    }
}

impl Record {
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answer(answer) => Some(answer),
            Outcome::Error { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{softmax, top_k};

    #[test]
    fn ranks_are_places_in_top_k() {
        let logits = [0.5, 2.0, -1.0, 2.0, 0.5];
        let order = top_k(&logits, 5);
        for (label, _) in logits.iter().enumerate() {
            let answer = Answer::new(&logits, label);
            assert_eq!(order[answer.rank - 1], label);
            assert_eq!(answer.prediction, order[0]);
            assert!((answer.loss + softmax(&logits)[label].ln()).abs() < 1e-12);
        }
    }

    #[test]
    fn a_hopeless_class_has_a_finite_loss() {
        let answer = Answer::new(&[1e4, 0.0], 1);
        assert_eq!((answer.rank, answer.loss), (2, 1e4));
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let answer = Answer::new(&[0.1, 0.7, 0.2], 2);
        for outcome in [
            Outcome::Answer(answer),
            Outcome::Error {
                error: "truncated".into(),
            },
        ] {
            let record = Record {
                index: 3,
                picture: "a/b.png".into(),
                label: 2,
                outcome,
            };
            let line = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        }
    }
}
