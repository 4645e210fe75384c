//! Which of a network's layers gives the features.

use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::EmbedError;
use crate::nets::{NetError, Network, Plan, Point};

/// A layer whose output are the features of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Layer {
    /// The classifier's input: the mean of the last map, `[C]`. timm calls it `pre_logits`.
    #[default]
    Pooled,
    /// The classifier's output, `[classes]`.
    Logits,
    /// A map `[C, H, W]`, counted as in the papers on detection (C1 to C5) and in timm's `features_only`:
    /// 1 is the stem before its pool, 2 the first stage of blocks, and each has half the height and
    /// width of the one before it.
    Stage(u8),
}

/// The highest [`Layer::Stage`].
const LAST_STAGE: u8 = 5;

impl Layer {
    /// The shape of an image's features, for an input of `height` x `width`.
    ///
    /// # Errors
    /// [`EmbedError::NoStage`] if the network has fewer stages, [`EmbedError::Net`] if it does not take
    /// the size.
    pub fn shape(self, plan: &Plan, size: [usize; 2]) -> Result<Vec<usize>, EmbedError> {
        match self {
            Self::Pooled => Ok(vec![plan.num_features()]),
            Self::Logits => Ok(vec![plan.classifier.outputs]),
            Self::Stage(stage) => {
                let [height, width] = size;
                let shapes = plan.stage_shapes(height, width)?;
                let shape = usize::from(stage).checked_sub(1);
                let shape = shape.and_then(|place| shapes.get(place));
                let shape = shape.ok_or(EmbedError::NoStage {
                    layer: self,
                    stages: shapes.len(),
                })?;
                Ok(shape.to_vec())
            }
        }
    }

    /// The layer's output for a batch of images, in f32 and on the CPU: `[N, …]`.
    pub(super) fn run(self, network: &Network, batch: &Tensor) -> Result<Tensor, NetError> {
        match self {
            Self::Pooled => network.features(batch),
            Self::Logits => network.forward(batch),
            Self::Stage(1) => network.map_at(Point::Stem, batch),
            Self::Stage(stage) => network.map_at(Point::Stage(usize::from(stage) - 1), batch),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pooled => f.write_str("pooled"),
            Self::Logits => f.write_str("logits"),
            Self::Stage(stage) => write!(f, "stage{stage}"),
        }
    }
}

impl FromStr for Layer {
    type Err = EmbedError;

    fn from_str(text: &str) -> Result<Self, EmbedError> {
        let stage = || {
            let stage = text.strip_prefix("stage")?;
            let stages = 1..=LAST_STAGE;
            stages.into_iter().find(|known| known.to_string() == stage)
        };
        match text {
            "pooled" => Ok(Self::Pooled),
            "logits" => Ok(Self::Logits),
            _ => stage().map(Self::Stage).ok_or_else(|| EmbedError::Layer {
                text: text.to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for Layer {
    type Error = EmbedError;

    fn try_from(text: String) -> Result<Self, EmbedError> {
        text.parse()
    }
}

impl From<Layer> for String {
    fn from(layer: Layer) -> Self {
        layer.to_string()
    }
}
