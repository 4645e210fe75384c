//! Accuracy on a validation set: labelled images in, one record for each, a report from records.
//!
//! [`Dataset`] finds the images and resolves their labels by class name, never by folder order, so
//! that subsets score correctly. An [`Evaluation`] runs models on them and gives a [`Record`] for
//! each image. A [`Report`] is made from records alone: the same records give the same report to the
//! last bit, whether they come from one run, an interrupted one or several machines.

mod classes;
mod dataset;
mod discover;
mod error;
mod find;
mod label;
mod lists;
mod log;
mod model_run;
mod multi;
mod names;
mod order;
pub mod page;
mod pair;
mod published;
mod record;
mod report;
mod run;
mod scores;
mod source;
mod spool;
#[cfg(feature = "parquet")]
mod table;
mod warning;

pub use crate::walk::PassedOver;
pub use classes::{Classes, LabelIds};
pub use dataset::{Dataset, DatasetOptions, Item, Shard};
pub use discover::{DiscoverOptions, Discovered, GroupBy};
pub use error::EvalError;
#[cfg(feature = "cli")]
pub(crate) use error::NUMBER_OF_A_CLASS;
pub use log::merge;
pub use model_run::ModelRun;
pub use multi::{MultiClass, MultiReport};
pub use order::FolderOrder;
pub use pair::{Difference, Pair};
pub use published::{Comparison, published};
pub use record::{Answer, Header, Member, NO_LABEL, Outcome, Record, Scores, TEMPERATURES};
pub use report::{Bin, ClassReport, Confusion, Interval, Report, ReportContext, Temperature, TopK};
pub use run::{EvalOptions, Evaluation, RunSummary};
pub use source::Source;
#[cfg(feature = "parquet")]
pub use table::table;
pub use warning::{Numbering, Warning};
