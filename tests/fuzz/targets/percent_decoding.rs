//! Escapes, segments and query pairs of arbitrary text.

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::percent_decoding::check(bytes));
