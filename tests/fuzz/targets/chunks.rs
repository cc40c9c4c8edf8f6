//! The bytes behind the head of a chunked request.

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::chunks::check(bytes));
