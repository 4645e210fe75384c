//! Guides: pages for users of the program and of the library.

#[doc = include_str!("files.md")]
pub mod files {}
