//! The body of an acknowledgment, of one and of several messages.

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::ack::check(bytes));
