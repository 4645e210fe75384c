//! Helpers of the integration tests.
// Each test program uses a part of them.
#![allow(dead_code)]

pub mod hub_server;
