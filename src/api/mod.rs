//! Turns requests into operations and results into answers.

pub mod envelope;
