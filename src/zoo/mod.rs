//! Model cards: everything known about a checkpoint, and the names that users may give it.
//!
//! A [`Card`] is one file `models/<family>/<architecture>.<tag>.toml`, described in `models/README.md` and
//! compiled into the program; the [`Zoo`] holds all of them and resolves names. An [`Architecture`] is a
//! topology without a checkpoint. A directory or Hub repository with timm's `config.json` needs no card.
//! Both lead to a [`ModelSpec`], which is all that the layers above need in order to load a model.

mod address;
mod architecture;
mod card;
mod check;
mod config;
mod entry;
mod error;
mod family;
mod license;
mod overrides;
mod registry;
mod resolve;
mod spec;
mod suggest;
mod weights_ref;

pub use architecture::Architecture;
pub(crate) use card::accuracies;
pub use card::{Card, CardName, Published};
pub(crate) use config::CONFIG_FILE;
pub use error::CardError;
pub use overrides::Overrides;
pub use registry::Zoo;
pub use resolve::Selection;
pub use spec::{ModelSpec, WeightsSource};
#[cfg(feature = "cli")]
pub(crate) use suggest::squash;
pub use weights_ref::{DEFAULT_FILE, WeightsRef};

include!(concat!(env!("OUT_DIR"), "/weights.rs"));

/// The model that is used if none is named: of the SE-ResNets and SE-ResNeXts below 30 million parameters
/// that know ImageNet-1k, the one with the highest published top-1 accuracy.
pub const DEFAULT_MODEL: &str = "seresnext50_32x4d.racm_in1k";

/// What `demo` means: the small network whose weights are part of the program.
pub const DEMO_MODEL: &str = "seresnet20.fashion_mnist";

/// Contents of a file under `models/weights/`, which a card's `weights.embedded` names.
pub fn embedded_weights(file: &str) -> Option<&'static [u8]> {
    WEIGHTS
        .iter()
        .find(|(name, _)| *name == file)
        .map(|(_, bytes)| *bytes)
}
