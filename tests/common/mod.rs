//! Helpers of the integration tests.
// Each test program uses some of them.
#![allow(dead_code)]

pub(crate) mod exif;
pub(crate) mod fashion_mnist;
pub(crate) mod hub_server;
pub(crate) mod snapshots;
pub(crate) mod socks;
pub(crate) mod tls;
