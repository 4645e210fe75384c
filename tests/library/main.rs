//! The library's tests in one program, since each program links Candle anew. `cargo test --test
//! library zoo::` runs those of one room.

#[path = "../common/mod.rs"]
mod common;

mod discover;
mod embed;
mod eval;
mod explain;
mod fashion_mnist;
#[cfg(unix)]
mod gpu_kernels;
mod hub;
mod layers;
mod networks;
mod plan;
mod preprocess;
mod readme;
mod similar;
mod train;
mod weights;
mod zoo;

/// Memory in use by the tests, for those that run alone.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
