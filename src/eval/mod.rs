//! Accuracy on a validation set: labelled pictures in, one record a picture, a report from records.
//!
//! [`Dataset`] finds the pictures and what they show, by the meaning of folder names and never by
//! their position, so that any part of a data set scores right. Every picture becomes a
//! [`Record`], and a [`Report`] is made from records alone: the same records give the same report
//! to the last bit, whether they come from one run, an interrupted one or several machines.

mod classes;
mod dataset;
mod error;
mod find;
mod label;
mod lists;
mod log;
mod multi;
mod names;
mod order;
pub mod page;
mod pair;
mod record;
mod report;
mod scores;
mod source;
mod spool;
#[cfg(feature = "parquet")]
mod table;

pub use crate::walk::PassedOver;
pub use classes::{Classes, Numbering};
pub use dataset::{Dataset, Item, Options, Shard};
pub use error::EvalError;
pub use log::{Log, merge};
pub use multi::{MultiClass, MultiReport};
pub use order::FolderOrder;
pub use pair::{Difference, Pair};
pub use record::{Answer, Header, Member, NO_LABEL, Outcome, Record, Scores, TEMPERATURES};
pub use report::{Bin, ClassReport, Confusion, Interval, Report, Temperature, TopK};
pub use scores::{average, mean, restrict};
pub use source::Source;
#[cfg(feature = "parquet")]
pub use table::table;
