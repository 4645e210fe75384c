//! A network's topology as data: the `[network]` table of a card, one `kind` for each family of networks.
//!
//! A family is a spec with its own fields and a planner that turns it into a [`Plan`]; nothing after the
//! plan knows about families.

mod inverted_residual;
mod layers;
mod preresnet;
mod resnet;
mod runs;
mod shared;

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use inverted_residual::{
    GateSpec, HeadSpec, InvertedResidualRun, InvertedResidualSpec, MobileBlock, PaddingRule,
};
pub use layers::{BlockSpec, KernelSpec, LayerSpec, LayersSpec, ShiftSpec};
pub use preresnet::{NetworkEnd, PreresnetShortcut, PreresnetSpec};
pub use resnet::{
    BlockKind, ResnetRun, ResnetSpec, SePosition, SeSpec, Shortcut, SkSpec, StrideOn,
};
pub use shared::Stem;

use super::names::{Names, Naming};
use super::{NetError, Plan};

/// Topology of one architecture.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NetworkSpec {
    /// ResNet, SE-ResNet, SE-ResNeXt, SENet-154, SKNet, ResNet-RS, RegNetY, RegNetZ.
    Resnet(ResnetSpec),
    /// MobileNetV3, EfficientNet and their relatives.
    InvertedResidual(InvertedResidualSpec),
    /// BN-Inception and other networks that are written out layer by layer.
    Layers(LayersSpec),
    /// SE-PreResNet, RegNetV.
    Preresnet(PreresnetSpec),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Resnet,
    InvertedResidual,
    Layers,
    Preresnet,
}

/// What every family's spec provides.
trait Family {
    fn plan(&self, names: &'static Names, classes: usize) -> Result<Plan, NetError>;
    fn inputs(&self) -> usize;
    fn set_inputs(&mut self, channels: usize);
    fn summary(&self) -> String;
}

impl NetworkSpec {
    /// Resolves the spec with the names of `naming` and a classifier of `classes`.
    ///
    /// # Errors
    /// [`NetError::Spec`] with the field, if the spec contradicts itself or `naming` has no names for it.
    pub fn plan(&self, naming: Naming, classes: usize) -> Result<Plan, NetError> {
        if classes == 0 {
            let reason = "a classifier needs at least one class";
            return Err(NetError::spec("classes", reason));
        }
        self.family().plan(naming.names(), classes)
    }

    /// Channels of the input.
    pub fn inputs(&self) -> usize {
        self.family().inputs()
    }

    /// Sets the channels of the input.
    pub fn set_inputs(&mut self, channels: usize) {
        match self {
            Self::Resnet(spec) => spec.set_inputs(channels),
            Self::Preresnet(spec) => spec.set_inputs(channels),
            Self::InvertedResidual(spec) => spec.set_inputs(channels),
            Self::Layers(spec) => spec.set_inputs(channels),
        }
    }

    /// One line for people: the kind of block, and the numbers that distinguish networks of a family.
    pub fn summary(&self) -> String {
        self.family().summary()
    }

    /// The spec of a network of the ResNet family.
    pub fn as_resnet(&self) -> Option<&ResnetSpec> {
        match self {
            Self::Resnet(spec) => Some(spec),
            Self::InvertedResidual(_) | Self::Layers(_) | Self::Preresnet(_) => None,
        }
    }

    fn family(&self) -> &dyn Family {
        match self {
            Self::Resnet(spec) => spec,
            Self::Preresnet(spec) => spec,
            Self::InvertedResidual(spec) => spec,
            Self::Layers(spec) => spec,
        }
    }
}

/// Like serde's internally tagged enums, but `kind` must come first: serde buffers the fields until it
/// knows the kind, and errors then lose their line numbers.
impl<'de> Deserialize<'de> for NetworkSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tagged;
        impl<'de> Visitor<'de> for Tagged {
            type Value = NetworkSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table that begins with `kind`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                if map.next_key::<String>()?.as_deref() != Some("kind") {
                    return Err(A::Error::custom("the first field must be `kind`"));
                }
                let kind = map.next_value()?;
                let fields = MapAccessDeserializer::new(map);
                Ok(match kind {
                    Kind::Resnet => NetworkSpec::Resnet(Deserialize::deserialize(fields)?),
                    Kind::Preresnet => NetworkSpec::Preresnet(Deserialize::deserialize(fields)?),
                    Kind::InvertedResidual => {
                        NetworkSpec::InvertedResidual(Deserialize::deserialize(fields)?)
                    }
                    Kind::Layers => NetworkSpec::Layers(Deserialize::deserialize(fields)?),
                })
            }
        }
        deserializer.deserialize_map(Tagged)
    }
}
