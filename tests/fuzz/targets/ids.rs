//! Derived ids: as numbers, as UUIDs and as text.

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::ids::check(bytes));
