//! Why a network answers as it does: class activation maps, gates, and a check of both.
//!
//! These networks end in a mean over the cells of the last map and a linear layer, so a logit *is* the mean of
//! a map plus a bias: `logit_c = mean(W_c · map[cell]) + b_c` (Zhou et al., "Learning Deep Features for
//! Discriminative Localization", arXiv:1512.04150). A [`Cam`] is that map, without an approximation.
//! An [`Explainer`] observes a network and makes the maps of any class from one pass; [`HeatMap`] draws one on
//! the image, [`check`] measures whether the cells that it names matter to the network, and [`GatesByClass`]
//! averages the gates of squeeze-and-excitation modules as section 7.2 of their paper does.
//!
//! ```no_run
//! use senet::candle_core::Device;
//! use senet::explain::Explainer;
//! use senet::hub::HubOptions;
//! use senet::preprocess::{DecodeOptions, open};
//! use senet::{Model, store};
//!
//! # fn main() -> senet::Result<()> {
//! let hub = HubOptions::from_env()?;
//! let model = Model::open("se-resnet50", &hub, &Device::Cpu)?;
//! let weights = store::open(model.spec(), None, &hub, &())?;
//! let explainer = Explainer::new(model.network(), &weights)?;
//! let image = open("photo.jpg", &DecodeOptions::default())?;
//! let observed = &explainer.observe(&model.batch(&[image])?)?[0];
//! let best = &model.best(&observed.logits, 1)[0];
//! let cam = explainer.cam(observed, best.index);
//! println!("{} = {} + {}", best.logit, cam.mean(), cam.bias);
//! # Ok(())
//! # }
//! ```

mod by_class;
mod cam;
mod colours;
mod gates;
mod heat;
mod occlusion;
pub mod page;

pub use by_class::{GateClass, GateReport, GatesByClass, ModuleReport, Verdict};
pub use cam::{Cam, Explainer, Form, Observation};
pub use colours::{Colour, Scale};
pub use gates::{CLOSED, GateSummary, Module, ModuleKind, modules};
pub use heat::HeatMap;
pub use occlusion::{Check, check};
