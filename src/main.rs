//! The `queen` program.

fn main() {}
