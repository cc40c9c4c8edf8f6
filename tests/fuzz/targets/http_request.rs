//! One connection's bytes, whole and in pieces.

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::http_request::check(bytes));
