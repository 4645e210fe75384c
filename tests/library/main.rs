//! The library: one program for all rooms but the command line, since each program links Candle anew.
//! `cargo test --test library zoo::` runs the tests of one.

#[path = "../common/mod.rs"]
mod common;

mod eval;
mod fashion_mnist;
mod hub;
mod layers;
mod networks;
mod plan;
mod preprocess;
mod readme;
mod weights;
mod zoo;

/// What the tests have in memory, for those that run alone.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
