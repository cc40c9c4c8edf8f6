//! What is checked of each parser, whoever makes the inputs: the fuzz targets beside this, or
//! `tests/fuzzing.rs`, which mutates the seeds for a few seconds in every run of the tests.
//!
//! A check takes any bytes and panics when the parser is wrong. Besides what must hold for every
//! input it compares the parser with a second reader, written anew or somebody else's.

// A fuzz target uses one check.
#![allow(dead_code)]

pub mod ack;
pub mod buffer_file;
pub mod chunks;
pub mod configure;
pub mod http_request;
pub mod ids;
pub mod json;
pub mod percent_decoding;
pub mod push;
pub mod recipient;
pub mod transaction;
