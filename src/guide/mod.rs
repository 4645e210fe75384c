//! Guides: pages for users of the program and of the library.

#[doc = include_str!("accuracy.md")]
pub mod accuracy {}

#[doc = include_str!("../README.md")]
pub mod architecture {}

#[doc = include_str!("embed.md")]
pub mod embed {}

#[doc = include_str!("evaluate.md")]
pub mod evaluate {}

#[doc = include_str!("explain.md")]
pub mod explain {}

#[doc = include_str!("files.md")]
pub mod files {}

#[doc = include_str!("hub.md")]
pub mod hub {}

#[doc = include_str!("output.md")]
pub mod output {}

#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = include_str!("similar.md")]
pub mod similar {}

#[doc = include_str!("train.md")]
pub mod train {}
