//! Files of the buffer: arbitrary bytes, and a valid file that was damaged.

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::buffer_file::check(bytes));
